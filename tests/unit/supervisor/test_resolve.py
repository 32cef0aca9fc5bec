"""From the name of a place to listen on to one address."""

import socket
import threading

import pytest

from hyperion.config import Endpoint
from hyperion.errors import ConfigError, HyperionError, TemporaryError
from hyperion.supervisor import reading
from hyperion.supervisor.resolve import look_up_all, resolve


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (socket.gaierror(socket.EAI_AGAIN, "no"), TemporaryError),
        (socket.gaierror(socket.EAI_NONAME, "no"), ConfigError),
        (UnicodeError("label too long"), ConfigError),
    ],
)
def test_names_that_cannot_be_resolved(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[HyperionError]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(kind, match=r"name\.example"):
        resolve(Endpoint("name.example", 1))


def test_a_name_stands_for_its_first_ipv4_address(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.3", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert resolve(Endpoint("name.example", 0)) == (socket.AF_INET, ("127.0.0.2", 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[:1])
    assert resolve(Endpoint("name.example", 0)) == (socket.AF_INET6, ("::1", 0, 0, 0))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(ConfigError, match="no IP address"):
        resolve(Endpoint("name.example", 0))


async def test_all_are_asked_for_before_the_first_answer_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(host: str, port: int, **_: object) -> list[object]:
        asked.append((host, threading.current_thread() is threading.main_thread()))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    look_up = await look_up_all([Endpoint("a", 1), Endpoint("b", 2)])
    assert asked == [("a", False), ("b", False)]
    assert look_up(Endpoint("b", 2)) == (socket.AF_INET, ("127.0.0.1", 2))
    assert len(asked) == 2


async def test_a_name_service_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_READ_SECONDS", 0.05)
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait())
    with pytest.raises(TemporaryError, match=r"name\.example could not be looked up within"):
        await look_up_all([Endpoint("name.example", 1)])
    over.set()
