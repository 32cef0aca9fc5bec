"""All local addresses of a client, at once and again."""

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hyperion.config import ClientConfig, Endpoint, ForwardEntry, SocksEntry
from hyperion.errors import CannotCreateError, TemporaryError
from hyperion.supervisor import reading
from hyperion.supervisor.local_addresses import LocalAddresses
from tests.helpers.supervise import client_config

HERE = Endpoint("localhost", 0)
FORWARD = ForwardEntry(HERE, "web1", 22)
SOCKS = SocksEntry(HERE)


@pytest.fixture
def config(tmp_path: Path) -> ClientConfig:
    path = tmp_path / "settings.json"
    path.write_text('{"servers": {"web1": 1}, "forwards": []}', encoding="utf-8")
    return replace(client_config(path), forwards=(FORWARD,), socks=(SOCKS,))


@pytest.fixture
def taken() -> Iterator[Endpoint]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield Endpoint("127.0.0.1", sock.getsockname()[1])


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_all_or_none(config: ClientConfig, taken: Endpoint) -> None:
    before = descriptors()
    with pytest.raises(CannotCreateError, match="in use"):
        LocalAddresses.bind(replace(config, socks=(SOCKS, SocksEntry(taken))))
    assert descriptors() == before
    local = LocalAddresses.bind(config)
    assert local.shown == [local.forwards[0].address, local.socks[0].address]
    local.close()
    assert descriptors() == before


async def test_what_stays_keeps_listening_and_what_goes_stops(config: ClientConfig, taken: Endpoint) -> None:
    before = descriptors()
    first = LocalAddresses.bind(config)
    with pytest.raises(CannotCreateError, match="in use"):
        await first.successor(replace(config, socks=(SocksEntry(taken),)))
    assert descriptors() == before + 2
    second = await first.successor(replace(config, socks=()))
    first.close(keep=second)
    assert second.forwards[0].sock is first.forwards[0].sock
    assert descriptors() == before + 1
    second.close()


@pytest.mark.timeout(20)
async def test_a_name_service_that_hangs_stops_nothing(config: ClientConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the loop nor, if no new name is wanted, the reload."""
    monkeypatch.setattr(reading, "MAX_READ_SECONDS", 0.05)
    first = LocalAddresses.bind(config)
    over = threading.Event()

    def hang(*_: object, **__: object) -> None:
        assert threading.current_thread() is not threading.main_thread()
        over.wait()

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    assert (await first.successor(config)) == first
    for new in (
        replace(config, socks=(SOCKS, SocksEntry(Endpoint("a.example", 0)))),
        replace(config, forwards=(FORWARD, ForwardEntry(Endpoint("b.example", 0), "web1", 22))),
    ):
        with pytest.raises(TemporaryError, match=r"(a|b)\.example could not be looked up"):
            await first.successor(new)
    over.set()
    first.close()
