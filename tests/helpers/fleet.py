"""Three servers on three machines, each behind its own shut gate, and one admin who may enter all of them."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.tunnel import make_key, program, quote
from tests.helpers.gated import PSK_TEXT, Whole
from tests.helpers.knockd_process import PORT
from tests.helpers.netns import Host, Topology, topology
from tests.helpers.program import Program

NAMES = ("web1", "web2", "db1")


class Member(Whole):
    """One of them. ``admin``: the public key of who may enter."""

    def __init__(self, network: Topology, directory: Path, ports: tuple[int, ...], admin: str) -> None:
        self.ports = ports
        self._admin = admin
        super().__init__(network, directory)

    def _start_server(self, ttl: int, *, one_shot: bool) -> Program:
        self.admin_public = self._admin  # and not one of its own
        return super()._start_server(ttl, one_shot=one_shot)


@dataclass
class Fleet:
    """``hosts`` by name; the second one is known to the admin by its IPv6 address. ``members`` once ``serve`` ran."""

    network: Topology
    directory: Path
    hosts: Mapping[str, Host]
    members: dict[str, Member]

    @property
    def admin(self) -> Host:
        return self.network.admin

    def address(self, name: str) -> str:
        """The real one, as it stands in the admin's file."""
        return self.hosts[name].ipv6 if name == NAMES[1] else self.hosts[name].ipv4

    def client(self, *words: str) -> Program:
        """``hyperion-client ...`` on the admin's machine, with a file that names all servers."""
        command = [*program("client"), words[0], "--config", str(self._file()), *words[1:]]
        environment = {"HYPERION_HOME": str(self.directory / "home")}
        return Program("hyperion-client", self.admin.command(*command), environment=environment)

    @contextlib.contextmanager
    def serve(self, ports: Mapping[str, Sequence[int]]) -> Iterator[None]:
        """Starts the servers, which allow these ports of theirs; their gates are shut."""
        public = make_key("client", self.directory / "admin.key")
        with contextlib.ExitStack() as stack:
            for name, host in self.hosts.items():
                directory = self.directory / name
                directory.mkdir()
                network = dataclasses.replace(self.network, server=host)
                self.members[name] = stack.enter_context(Member(network, directory, tuple(ports[name]), public))
            for member in self.members.values():
                member.wait_ready()
            yield

    def _file(self) -> Path:
        lines = [f"admin_static_key_file = {quote(self.directory / 'admin.key')}"]
        lines += ["[key]", 'source = "value"', f"value = {quote(PSK_TEXT)}", "[knock]", "enabled = true"]
        for name, member in self.members.items():
            address = self.address(name)
            place = f"[{address}]:{PORT}" if ":" in address else f"{address}:{PORT}"
            lines += ["[[server]]", f"name = {quote(name)}", f"addr = {quote(place)}"]
            lines.append(f"server_pubkey = {quote(member.server_public)}")
        file = self.directory / "client.toml"
        file.touch(mode=0o600)
        file.write_text("\n".join([*lines, ""]), encoding="utf-8")
        return file


@contextlib.contextmanager
def fleet(directory: Path) -> Iterator[Fleet]:
    """Three machines for servers beside the admin's, for the length of the ``with`` block."""
    with topology(*NAMES[1:]) as network:
        hosts = dict(zip(NAMES, (network.server, *network.others), strict=True))
        yield Fleet(network, directory, hosts, {})
