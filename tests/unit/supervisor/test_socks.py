"""The SOCKS child's listeners over reloads, and what it is told."""

import socket

import pytest

from hyperion.channel import encode
from hyperion.config import Endpoint, SocksEntry
from hyperion.config.name import is_name
from hyperion.errors import CannotCreateError
from hyperion.proto.control import LogSettings, SocksConfig, StreamPlace
from hyperion.rendezvous import Meeting
from hyperion.supervisor.sockets import close_unused
from hyperion.supervisor.socks import SOCKS_NAME, bind_socks, socks_spec

ANY = SocksEntry(Endpoint("127.0.0.1", 0))


def at(port: int) -> SocksEntry:
    return SocksEntry(Endpoint("127.0.0.1", port))


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def test_a_reload_keeps_what_stays() -> None:
    first = bind_socks([ANY, ANY])
    assert first[0].address != first[1].address
    addresses = [("127.0.0.1", port_of(each.address)) for each in first]
    second = bind_socks([ANY, at(0)], first)
    assert [each.sock for each in second] == [each.sock for each in first]
    third = bind_socks([ANY], second)
    close_unused(second, third)
    socket.create_connection(addresses[0], 5).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(addresses[1], 5)
    close_unused(third, [])


def test_all_or_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        held = bind_socks([ANY])
        with pytest.raises(CannotCreateError, match="in use"):
            bind_socks([ANY, ANY, at(taken.getsockname()[1])], held)
    assert held[0].sock.fileno() > 0  # what was there stays
    close_unused(held, [])


def test_what_the_child_is_told() -> None:
    bound = bind_socks([ANY])
    spec = socks_spec("m:f", bound, [Meeting("web1", "/run/x/0", ("10.99.0.10",))], LogSettings("json", "debug"))
    assert spec.config == SocksConfig(
        (bound[0].address,), (StreamPlace("web1", "/run/x/0", ("10.99.0.10",)),), LogSettings("json", "debug")
    )
    assert spec.listeners == (bound[0].sock,)
    assert spec == socks_spec(
        "m:f", bound, [Meeting("web1", "/run/x/0", ("10.99.0.10",))], LogSettings("json", "debug")
    )
    assert not is_name(SOCKS_NAME)
    assert encode(spec.config)
    close_unused(bound, [])
