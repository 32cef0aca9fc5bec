"""From a name to the addresses that are tried."""

import asyncio
import socket
from typing import Any

import pytest

from hyperion.worker.addresses import MAX_ADDRESSES, Address, in_turn, resolve

V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


def v4(last: int) -> Address:
    return Address(V4, (f"192.0.2.{last}", 8443))


def v6(last: int) -> Address:
    return Address(V6, (f"2001:db8::{last}", 8443, 0, 0))


async def test_an_address_stands_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", never)
    assert await resolve("192.0.2.1", 8443) == [v4(1)]
    assert await resolve("2001:db8::1", 8443) == [v6(1)]


async def test_families_take_turns_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [v6(number) for number in range(1, 9)] + [v4(1), v4(2), v4(1)]

    async def answer(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(each.family, socket.SOCK_STREAM, 6, "", each.sockaddr) for each in found]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", answer)
    addresses = await resolve("server.example", 8443)
    assert addresses == [v6(1), v4(1), v6(2), v4(2), v6(3), v6(4)]
    assert len(addresses) == MAX_ADDRESSES


def test_the_first_family_goes_first() -> None:
    assert in_turn([v4(1), v4(2), v6(1)]) == [v4(1), v6(1), v4(2)]
    assert in_turn([]) == []


async def test_a_name_that_has_none() -> None:
    with pytest.raises(socket.gaierror):
        await resolve("no-such-host.invalid", 1)
    with pytest.raises(UnicodeError):
        await resolve("a" * 70 + ".example", 1)


def test_texts_and_ports() -> None:
    assert (str(v4(1)), str(v6(1))) == ("192.0.2.1:8443", "[2001:db8::1]:8443")
    assert v4(1).with_port(62201) == ("192.0.2.1", 62201)
    assert Address(V6, ("fe80::1", 1, 0, 3)).with_port(2) == ("fe80::1", 2, 0, 3)
