"""Transparent mode under the real addresses of three servers at once, each behind its own gate: ssh, scp, curl and psql
as if there were no gate; the tunnel's own packets by the wire; nothing left afterwards."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.helpers.everyday import PROGRAMS, Database, Machine, http, together, work
from tests.helpers.fleet import NAMES, Fleet, fleet
from tests.helpers.knockd_process import PORT
from tests.helpers.netns import Host, inside
from tests.helpers.openssh import OpenSsh, openssh
from tests.helpers.postgres import Postgres, postgres
from tests.helpers.transparent import is_settled, snapshot, wait_for
from tests.helpers.tund_process import connect
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft", *PROGRAMS)]

MIB = 1 << 20
DEVICE = "hyperion0"


@dataclass
class Services:
    """What listens on the loopback of each server."""

    ssh: Mapping[str, OpenSsh]
    web: Mapping[str, int]
    database: Postgres

    @property
    def ports(self) -> dict[str, list[int]]:
        """By server."""
        return {name: [self.ssh[name].port, self.web[name]] for name in NAMES[:2]} | {"db1": [self.database.port]}


@contextlib.contextmanager
def services(hosts: Mapping[str, Host], directory: Path) -> Iterator[Services]:
    """sshd and a web server on two of them, a database on the third."""
    with contextlib.ExitStack() as stack:
        ssh, web = {}, {}
        for name in NAMES[:2]:
            with inside(hosts[name]):
                ssh[name] = stack.enter_context(openssh(directory / f"ssh-{name}"))
                web[name] = stack.enter_context(http())
        with inside(hosts["db1"]):
            database = stack.enter_context(postgres())
        yield Services(ssh, web, database)


def watch(made: Fleet) -> None:
    """Counts, on the admin's machine and from before the device is there: packets to the tunnel's port that go into the
    device, and packets to a server that go by the wire and are not the tunnel's."""
    servers = [made.address(name) for name in NAMES]
    apart = [
        f"oifname eth0 {'ip6' if ':' in server else 'ip'} daddr {server} meta l4proto {{ tcp, udp }} "
        f"th dport != {PORT} counter name astray;"
        for server in servers
    ]
    text = f"""table inet watch {{
  counter own {{ }}
  counter astray {{ }}
  chain out {{
    type filter hook output priority 0;
    oifname "{DEVICE}" th dport {PORT} counter name own;
    {" ".join(apart)}
  }}
}}"""
    made.admin.run("nft", "-f", "-", input=text)


def counted(made: Fleet, name: str) -> int:
    listing = made.admin.run("nft", "list", "counter", "inet", "watch", name)
    return int(listing.split("packets")[1].split()[0])


def opens(host: Host, address: str, port: int, seconds: float = 0.5) -> bool:
    """Whether an application's connection comes to be. A refusal is none, and neither is silence."""
    try:
        connect(host, address, port, timeout=seconds).close()
    except OSError:
        return False
    return True


def assert_silent(made: Fleet, ports: Mapping[str, list[int]]) -> None:
    """By the wire, each gate drops what has not knocked."""

    def ask(name: str, port: int) -> None:
        with pytest.raises(TimeoutError):
            connect(made.admin, made.address(name), port, timeout=0.3)

    together(*(partial(ask, name, port) for name, allowed in ports.items() for port in (PORT, *allowed)))


@pytest.mark.timeout(180)
def test_real_programs_at_three_servers_at_once(tmp_path: Path) -> None:
    real_programs(tmp_path, 4 * MIB)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_real_programs_with_100_mib(tmp_path: Path) -> None:
    real_programs(tmp_path, 100 * MIB)


def real_programs(directory: Path, size: int) -> None:
    with fleet(directory) as made, services(made.hosts, directory) as there, made.serve(there.ports):
        admin = made.admin
        until(lambda: is_settled(admin))
        assert_silent(made, there.ports)
        watch(made)
        servers = {name: snapshot(host) for name, host in made.hosts.items()}
        before = snapshot(admin)
        running = made.client("tun", "--apply", "--log-format", "json")
        try:
            running.wait_events("service-started")
            running.wait_events("tunnel-up", 2 * len(NAMES))
            for name, ports in there.ports.items():
                # A worker logs that its tunnel stands, and then tells who passes it on.
                until(partial(opens, admin, made.address(name), ports[0]))
            with inside(admin):
                machines = [Machine(name, made.address(name), there.ssh[name], there.web[name]) for name in NAMES[:2]]
                work(machines, Database((made.address("db1"),), there.database), directory, size)
            judge(made)
            assert running.stop() == 0, running.tail()
        finally:
            running.end()
        wait_for(admin, before)
        together(*(member.shut for member in made.members.values()))
        for name, host in made.hosts.items():
            wait_for(host, servers[name])
        assert_silent(made, there.ports)


def judge(made: Fleet) -> None:
    """Each server saw streams of its own and opened its gate; nothing took the wrong way."""
    for member in made.members.values():
        assert member.server.events("stream-opened")
        assert member.server.events("knock-accepted")
    assert counted(made, "own") == 0
    assert counted(made, "astray") == 0
    # The counter counts: without a mark, the tunnel's port is behind the device, too.
    for name in NAMES:
        with pytest.raises(ConnectionRefusedError):
            connect(made.admin, made.address(name), PORT)
    assert counted(made, "own") == len(NAMES)
