"""Transparent mode as an admin sees it: a client with ``--tun`` in a namespace, and what it may leave behind there."""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.netns import Host, alone, inside
from tests.helpers.product import Product, Server
from tests.helpers.program import Program

FAKE = {name: f"10.99.0.{number}" for name, number in (("web1", 10), ("web2", 11), ("db1", 12))}
FAKE6 = {name: f"fd68:7970:6572::a63:{number:x}" for name, number in (("web1", 10), ("web2", 11), ("db1", 12))}

RESOLVER = Path("/etc/resolv.conf")
HOSTS = Path("/etc/hosts")


@dataclass
class Transparent:
    """Servers and a client that gives them fake addresses, all in one namespace."""

    host: Host
    product: Product
    servers: Mapping[str, Server]
    config: Path
    client: Program

    def restart(self, *options: str) -> Program:
        """Another client on the same file."""
        self.client = self.product.run("client", self.config, ["--tun", *options])
        return self.client

    def wait_up(self, client: Program | None = None) -> None:
        """The device is there, all children are, and all tunnels stand.

        The workers' listeners follow; a connection waits for them, though no longer than 0.8 s.
        """
        running = self.client if client is None else client
        running.wait_events("device-up")
        running.wait_events("service-started")
        running.wait_events("tunnel-up", 2 * len(self.servers))


@contextlib.contextmanager
def namespace() -> Iterator[Host]:
    """A namespace of its own, in which this thread is."""
    with alone() as host, inside(host):
        yield host


def start(host: Host, product: Product, ports: Mapping[str, Sequence[int]], *options: str) -> Transparent:
    """Servers that allow these ports, and a client on its way up."""
    servers = {name: product.server(list(allowed), name=name) for name, allowed in ports.items()}
    config = product.client_file([server.entry(name) for name, server in servers.items()])
    client = product.run("client", config, ["--tun", *options])
    return Transparent(host, product, servers, config, client)


def snapshot(host: Host) -> str:
    """Links, addresses, routes, rules and firewall in there, and the names and resolvers of this machine."""
    shown = [
        host.ip(*words)
        for words in (
            ("-details", "link"),
            ("address",),
            ("-4", "route", "show", "table", "all"),
            ("-6", "route", "show", "table", "all"),
            ("-4", "rule"),
            ("-6", "rule"),
        )
    ]
    if shutil.which("nft"):
        shown.append(host.run("nft", "--stateless", "list", "ruleset"))  # without what its counters count
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (RESOLVER, HOSTS) if path.exists()]
    # An address that looks for a namesake when this is asked first has found none when it is asked again.
    return "\n".join([*shown, *digests]).replace(" tentative", "")


def is_settled(host: Host) -> bool:
    """Whether the kernel is done with a new wire: it gives it an address of its own, and routes, when it comes up."""
    routes = host.ip("-6", "route", "show", "table", "all")
    return (
        "tentative" not in host.ip("-6", "address")
        and all(route in routes for route in ("fe80::/64 dev eth0", "local fe80::", "multicast ff00::/8 dev eth0"))
        and "state UP" in host.ip("link", "show", "eth0")
    )


def wait_for(host: Host, expected: str, seconds: float = 5.0) -> None:
    """Until nothing is left: the kernel takes a moment after the last process has gone."""
    deadline = time.monotonic() + seconds
    while (now := snapshot(host)) != expected:
        assert time.monotonic() < deadline, now
        time.sleep(0.02)
