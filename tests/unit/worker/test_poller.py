"""Readiness of sockets, on both loops and in both ways."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from hyperion.worker import turn
from hyperion.worker.poller import MAX_READY, READ, WRITE, EpollPoller, LoopPoller, Poller, new_poller
from tests.helpers.rig import until

pytestmark = pytest.mark.both_loops


class Listener:
    """Remembers what it was told; ``act`` does something about it."""

    def __init__(self, act: Callable[[int], object] = lambda ready: None) -> None:
        self.told: list[int] = []
        self.faults = 0
        self._act = act

    def on_ready(self, ready: int) -> None:
        self.told.append(ready)
        self._act(ready)

    def on_fault(self) -> None:
        self.faults += 1


@pytest.fixture(params=[EpollPoller, LoopPoller])
def poller(request: pytest.FixtureRequest) -> Poller:
    made: Poller = request.param()
    return made


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


async def test_tells_what_was_asked_for(poller: Poller, pair: Pair) -> None:
    ours, theirs = pair
    listener = Listener()
    poller.watch(ours.fileno(), listener, READ)
    await asyncio.sleep(0.02)
    assert listener.told == []
    theirs.send(b"x")
    await until(lambda: len(listener.told) >= 2)  # as long as it is not read
    assert set(listener.told) == {READ}
    poller.watch(ours.fileno(), listener, WRITE)
    listener.told.clear()
    await until(lambda: listener.told)
    assert set(listener.told) == {WRITE}
    poller.watch(ours.fileno(), listener, READ | WRITE)
    listener.told.clear()
    await until(lambda: {bit for told in listener.told for bit in (READ, WRITE) if told & bit} == {READ, WRITE})
    poller.close()


async def test_who_is_forgotten_hears_nothing_not_even_of_the_end(poller: Poller, pair: Pair) -> None:
    ours, theirs = pair
    listener = Listener()
    poller.watch(ours.fileno(), listener, READ)
    poller.forget(ours.fileno())
    poller.forget(ours.fileno())
    theirs.close()
    await asyncio.sleep(0.02)
    assert listener.told == []
    poller.watch(ours.fileno(), listener, READ)
    await until(lambda: listener.told)
    poller.close()


async def test_who_is_forgotten_in_the_same_turn_is_not_served(poller: Poller) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    listeners = [Listener(lambda _, other=other: poller.forget(pairs[other][0].fileno())) for other in (1, 0)]  # type: ignore[misc]
    for (ours, theirs), listener in zip(pairs, listeners, strict=True):
        theirs.send(b"x")
        poller.watch(ours.fileno(), listener, READ)
    await until(lambda: listeners[0].told or listeners[1].told)
    await asyncio.sleep(0.02)
    assert sorted(bool(listener.told) for listener in listeners) == [False, True]
    poller.close()
    for ends in pairs:
        for end in ends:
            end.close()


async def test_a_bug_costs_its_own_socket_only(poller: Poller) -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    def fail(ready: int) -> None:
        raise ValueError("a bug")

    pairs = [socket.socketpair() for _ in range(2)]
    broken, sound = Listener(fail), Listener(lambda ready: pairs[1][0].recv(1))
    for (ours, theirs), listener in zip(pairs, (broken, sound), strict=True):
        poller.watch(ours.fileno(), listener, READ)
        theirs.send(b"x")
    await until(lambda: broken.faults and sound.told)
    pairs[1][1].send(b"x")
    await until(lambda: len(sound.told) == 2)
    assert (broken.told, broken.faults, sound.faults) == ([READ], 1, 0)
    assert [type(complaint["exception"]) for complaint in complaints] == [ValueError]
    poller.close()
    for ends in pairs:
        for end in ends:
            end.close()


@pytest.mark.parametrize("broken", ["forget", "on_fault"])
async def test_a_bug_in_giving_up_does_not_mute_the_worker(
    broken: str, poller: Poller, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    ours, theirs = pair

    def fail(*_: object) -> None:
        raise OSError("a bug")

    listener = Listener(fail)
    poller.watch(ours.fileno(), listener, READ)
    unset = poller._unset
    if broken == "on_fault":
        monkeypatch.setattr(listener, "on_fault", fail)
    else:
        monkeypatch.setattr(poller, "_unset", fail)
    theirs.send(b"x")
    await until(lambda: len(complaints) >= 2)
    assert listener.told == [READ]
    assert listener.faults == (broken == "forget")
    called: list[int] = []
    turn.at_end(lambda: called.append(1))
    await until(lambda: called)
    if broken == "forget":
        unset(ours.fileno())
    poller.close()


async def test_many_are_all_served(poller: Poller) -> None:
    """More than one turn takes, each of them busy all the time."""
    pairs = [socket.socketpair() for _ in range(3 * MAX_READY)]
    listeners = [Listener() for _ in pairs]
    for (ours, theirs), listener in zip(pairs, listeners, strict=True):
        theirs.send(b"x")
        poller.watch(ours.fileno(), listener, READ)
    await until(lambda: all(listener.told for listener in listeners))
    assert max(len(listener.told) for listener in listeners) <= 2 + min(len(listener.told) for listener in listeners)
    poller.close()
    for ends in pairs:
        for end in ends:
            end.close()


async def test_closed_it_watches_nothing_and_leaves_no_descriptor(poller: Poller, pair: Pair) -> None:
    ours, theirs = pair
    before = len(os.listdir("/proc/self/fd"))
    listener = Listener()
    poller.open()
    opened = len(os.listdir("/proc/self/fd"))
    poller.watch(ours.fileno(), listener, READ)
    assert len(os.listdir("/proc/self/fd")) == opened
    poller.close()
    poller.close()
    theirs.send(b"x")
    await asyncio.sleep(0.02)
    assert listener.told == []
    assert len(os.listdir("/proc/self/fd")) == before


async def test_what_cannot_be_watched_is_an_error(tmp_path: object) -> None:
    poller = EpollPoller()
    with open("/proc/self/status", encoding="ascii") as file, pytest.raises(PermissionError):
        poller.watch(file.fileno(), Listener(), READ)
    poller.forget(3)
    poller.close()


async def test_where_only_so_many_can_be_watched_one_more_is_an_error(pair: Pair) -> None:
    poller = LoopPoller(limit=1)
    ours, theirs = pair
    poller.watch(ours.fileno(), Listener(), READ)
    poller.watch(ours.fileno(), Listener(), WRITE)
    with pytest.raises(OSError, match="no more"):
        poller.watch(theirs.fileno(), Listener(), READ)
    poller.forget(ours.fileno())
    poller.watch(theirs.fileno(), Listener(), READ)
    poller.close()


async def test_linux_has_the_fast_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(new_poller()) is EpollPoller
    monkeypatch.setattr("sys.platform", "darwin")
    assert type(new_poller()) is LoopPoller
