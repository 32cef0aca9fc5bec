import socket
from collections.abc import Sequence

import pytest

from bench.ports import free_port
from hyperion.config import Endpoint, ForwardEntry
from hyperion.errors import CannotCreateError
from hyperion.supervisor.forwards import BoundForward, bind_forwards
from hyperion.supervisor.sockets import close_unused

ANY = Endpoint("127.0.0.1", 0)


def close(*groups: Sequence[BoundForward]) -> None:
    for group in groups:
        close_unused(group, [])


def test_each_forward_gets_a_socket_in_its_order() -> None:
    entries = [ForwardEntry(ANY, "web1", 22), ForwardEntry(ANY, "web1", 22), ForwardEntry(ANY, "db1", 5432)]
    bound = bind_forwards(entries)
    assert [forward.entry for forward in bound] == entries
    assert len({forward.address for forward in bound}) == 3
    assert bound[0].address == f"127.0.0.1:{bound[0].sock.getsockname()[1]}"
    close(bound)


def test_a_reload_keeps_what_it_can() -> None:
    before = bind_forwards([ForwardEntry(ANY, "web1", 22), ForwardEntry(ANY, "web1", 80), ForwardEntry(ANY, "old", 1)])
    fixed = Endpoint("127.0.0.1", before[2].sock.getsockname()[1])
    held = [*before[:2], BoundForward(ForwardEntry(fixed, "old", 1), before[2].sock)]
    after = bind_forwards(
        [ForwardEntry(fixed, "new", 2), ForwardEntry(ANY, "web1", 80), ForwardEntry(ANY, "new", 3)], held
    )
    assert after[0].sock is held[2].sock, "the same address leads elsewhere now"
    assert after[1].sock is held[1].sock, "the same forward keeps its free port"
    assert after[2].sock not in [forward.sock for forward in held], "another forward gets another free port"
    close_unused(held, after)
    assert [forward.sock.fileno() == -1 for forward in held] == [True, False, False]
    close(after)


def test_an_exact_match_goes_before_a_mere_address() -> None:
    before = bind_forwards([ForwardEntry(ANY, "a", 1)])
    fixed = Endpoint("127.0.0.1", before[0].sock.getsockname()[1])
    held = [BoundForward(ForwardEntry(fixed, "a", 1), before[0].sock)]
    after = bind_forwards([ForwardEntry(ANY, "b", 1), ForwardEntry(fixed, "a", 1)], held)
    assert after[1].sock is held[0].sock
    close(after)


def test_all_or_nothing() -> None:
    held = bind_forwards([ForwardEntry(ANY, "web1", 22)])
    with socket.create_server(("127.0.0.1", 0)) as taken:
        busy = Endpoint("127.0.0.1", taken.getsockname()[1])
        free = Endpoint("127.0.0.1", free_port())
        wanted = [held[0].entry, ForwardEntry(free, "a", 1), ForwardEntry(busy, "a", 2)]
        with pytest.raises(CannotCreateError):
            bind_forwards(wanted, held)
    assert held[0].sock.fileno() != -1
    with socket.create_server(("127.0.0.1", free.port)):
        close(held)
