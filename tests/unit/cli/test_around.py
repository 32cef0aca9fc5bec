"""Where an address leads, and which tunnels are there; with a real device, ``tests/e2e/test_real_addresses.py``."""

import contextlib
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hyperion import privileges
from hyperion.cli import around
from hyperion.cli.around import mark_needed, refuse_to_cut, sockets_around
from hyperion.config import Endpoint, ServerEntry
from hyperion.errors import RefusedError
from hyperion.sock_diag import Connection, SockDiag
from hyperion.supervisor.plan import TUNNEL_MARK
from tests.helpers.supervise import client_config


@pytest.fixture
def servers(tmp_path: Path) -> list[ServerEntry]:
    path = tmp_path / "settings.json"
    path.write_text('{"servers": {"web1": 1, "db1": 1}, "forwards": []}', encoding="utf-8")
    web, database = client_config(path).servers
    return [web, replace(database, endpoint=Endpoint("192.0.2.7", 8443))]


@pytest.fixture
def into(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client runs under real addresses, and one of db1 leads into its device."""
    monkeypatch.setattr(around, "leads_into", lambda family, address: address == ("192.0.2.7", 8443))


def test_without_a_device_plain_sockets_will_do(servers: list[ServerEntry]) -> None:
    assert mark_needed(servers) is None
    assert sockets_around(servers) is None


@pytest.mark.usefixtures("into")
def test_a_server_in_it_is_reached_with_the_mark(servers: list[ServerEntry], monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    monkeypatch.setattr(around, "held", lambda rights: rights)
    monkeypatch.setattr(around, "make_marked", lambda *words: made.append(words))
    assert mark_needed(servers[:1]) is None
    assert mark_needed(servers) == TUNNEL_MARK
    make = sockets_around(servers)
    assert make is not None
    make(2, 1)
    assert made == [(2, 1, TUNNEL_MARK)]


@pytest.mark.usefixtures("into")
def test_without_the_right_it_is_told_and_not_tried(
    servers: list[ServerEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around, "held", lambda _: frozenset())
    assert sockets_around(servers[:1]) is None
    with pytest.raises(RefusedError, match="the address of db1 leads into it") as caught:
        sockets_around(servers)
    assert "sudo" in str(caught.value.hint)


@pytest.mark.usefixtures("into")
def test_who_cannot_be_looked_up_leads_nowhere(servers: list[ServerEntry]) -> None:
    assert mark_needed([replace(servers[0], endpoint=Endpoint("no such host", 8443))]) is None


# --- tunnels that are there already


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> list[Connection]:
    """What the kernel lists of sockets for IPv4; who asks may."""
    found: list[Connection] = []

    class Kernel(SockDiag):
        def connections(self, family: int) -> list[Connection]:
            return [one for one in found if one.family == family]

    monkeypatch.setattr(around, "SockDiag", Kernel)
    monkeypatch.setattr(privileges, "raised", lambda _: contextlib.nullcontext())
    return found


def connection(far: str, port: int, *, mark: int = 0, inode: int = 0) -> Connection:
    near = (socket.inet_aton("192.0.2.1"), 40_000)
    return Connection(socket.AF_INET, near, (socket.inet_aton(far), port), inode, mark, bytes(48))


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_only_an_unmarked_tunnel_to_a_server_of_ours_would_be_cut(
    servers: list[ServerEntry], lists: list[Connection]
) -> None:
    addresses = {"web1": ("127.0.0.1",), "db1": ("192.0.2.7", "2001:db8::7")}
    lists += [connection("192.0.2.7", 443), connection("192.0.2.8", 8443)]
    lists += [connection("192.0.2.7", 8443, mark=TUNNEL_MARK)]
    refuse_to_cut(servers, addresses)
    lists += [connection("192.0.2.7", 8443)]
    with pytest.raises(RefusedError, match="a tunnel to db1 is open on this machine: its packets") as caught:
        refuse_to_cut(servers, addresses)
    assert "hyperion-client down" in str(caught.value.hint)
    refuse_to_cut(servers[:1], {"web1": ("127.0.0.1",)})


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_it_says_who_has_the_tunnel(servers: list[ServerEntry], lists: list[Connection]) -> None:
    with socket.socket() as sock:
        lists.append(connection("192.0.2.7", 8443, inode=os.fstat(sock.fileno()).st_ino))
        with pytest.raises(RefusedError, match=rf"on this machine \(pid {os.getpid()}, .+\): its packets"):
            refuse_to_cut(servers, {"db1": ("192.0.2.7",)})


def test_where_the_kernel_has_no_list_nobody_is_refused(
    servers: list[ServerEntry], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: object) -> object:
        raise PermissionError(1, "no")

    monkeypatch.setattr(privileges, "raised", none)
    refuse_to_cut(servers, {"db1": ("192.0.2.7",)})
