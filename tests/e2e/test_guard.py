"""Somebody flushes, deletes or edits the gate's table under the guard's eyes. Both ways to nftables."""

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable

import pytest

from hyperion import log
from hyperion.events import FIREWALL_DEGRADED, FIREWALL_RECOVERED, FIREWALL_RESTORED, LogEvent
from hyperion.firewall.nft_program import NftProgram
from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.knockd import guard as guard_module
from hyperion.knockd.firewall import Firewall
from hyperion.knockd.guard import FREE_RESTORATIONS, Guard
from hyperion.knockd.watch import TableWatch
from tests.helpers.gate import TUNNEL_PORT, Inside, connect, gets_in, inside
from tests.helpers.meddling import MEDDLING, Probe
from tests.helpers.netns import Topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.usefixtures("listening")]
RULES = Ruleset(TUNNEL_PORT)
#: What the issue allows.
MAX_EXPOSURE_SECONDS = 0.2


@pytest.fixture
def meddler(network: Topology) -> Inside:
    """Somebody else's nft: a backend is not for two threads at once."""
    return inside(network.server, NftProgram)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[tuple[LogEvent, str | None]]:
    events: list[tuple[LogEvent, str | None]] = []

    def note(what: LogEvent, fields: object = None, *, reason: str | None = None) -> None:
        events.append((what, reason))

    monkeypatch.setattr(log, "event", note)
    return events


@contextlib.asynccontextmanager
async def guarding(
    network: Topology, firewall: Firewall, *, watch: bool = True, poll_seconds: float = 30.0
) -> AsyncIterator[list[tuple[bool, str | None]]]:
    """A guard at work; what it reports."""
    states: list[tuple[bool, str | None]] = []
    table_watch = network.server.call(lambda: TableWatch("hyperion")) if watch else None
    guard = Guard(firewall, table_watch, lambda *state: states.append(state), poll_seconds=poll_seconds)
    task = asyncio.create_task(guard.run())
    try:
        await eventually(lambda: bool(states))
        yield states
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        if table_watch is not None:
            table_watch.close()


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@pytest.mark.alone
@pytest.mark.parametrize("what", MEDDLING)
async def test_the_table_is_back_at_once_with_its_grants(
    network: Topology,
    meddler: Inside,
    firewall: Firewall,
    logged: list[tuple[LogEvent, str | None]],
    what: str,
) -> None:
    firewall.admit(network.admin.ipv4, 60)
    firewall.admit(network.admin.ipv6, 1.5)
    before = meddler.list_text("table", "inet", "hyperion")
    client = connect(network.admin, network.server.ipv4)
    async with guarding(network, firewall):
        with Probe(network.attacker, network.server) as probe:
            await asyncio.sleep(0.1)
            assert not probe.answered_at
            meddled_at = time.monotonic()
            await asyncio.to_thread(meddler.load, MEDDLING[what])
            await eventually(lambda: any(event is FIREWALL_RESTORED for event, _ in logged))
            await asyncio.sleep(0.3)
        exposure = max(probe.answered_at, default=meddled_at) - meddled_at
        print(f"exposed for {exposure * 1_000:.1f} ms")
        assert exposure <= MAX_EXPOSURE_SECONDS
        assert await asyncio.to_thread(meddler.list_text, "table", "inet", "hyperion") == before
        left = await asyncio.to_thread(firewall.grants)
        assert set(left) == {network.admin.ipv4, network.admin.ipv6}
        assert left[network.admin.ipv6] <= 1  # what was left, not a new life
        assert await asyncio.to_thread(gets_in, network.admin, network.server.ipv4)
        assert not await asyncio.to_thread(gets_in, network.attacker, network.server.ipv4)
        await asyncio.sleep(1.2)
        assert not await asyncio.to_thread(gets_in, network.admin, network.server.ipv6)
    client.sendall(b"still here")
    assert client.recv(100) == b"still here"
    client.close()
    assert [event for event, _ in logged] == [FIREWALL_RESTORED]


async def test_our_own_changes_are_no_meddling(
    network: Topology, meddler: Inside, firewall: Firewall, logged: list[tuple[LogEvent, str | None]]
) -> None:
    looks = 0
    ensure = firewall.ensure

    def counted() -> object:
        nonlocal looks
        looks += 1
        return ensure()

    firewall.ensure = counted  # type: ignore[assignment, method-assign]
    async with guarding(network, firewall) as states:
        for number in range(50):
            await asyncio.to_thread(firewall.admit, f"192.0.2.{number}", 0.05)
        await asyncio.to_thread(firewall.revoke, "192.0.2.1")
        await asyncio.to_thread(meddler.load, "add table inet another\ndelete table inet another")
        await asyncio.sleep(0.3)
        assert looks == 1  # the one at the start
        # A load of the same text is seen, looked at, and found to be right.
        await asyncio.to_thread(meddler.load, ruleset_text(RULES))
        await eventually(lambda: looks == 2)
        assert states == [(True, None)]
    assert logged == []


async def test_without_messages_the_poll_finds_it(
    network: Topology, meddler: Inside, firewall: Firewall, logged: list[tuple[LogEvent, str | None]]
) -> None:
    async with guarding(network, firewall, watch=False, poll_seconds=0.2):
        await asyncio.to_thread(meddler.load, "flush ruleset")
        await eventually(lambda: logged == [(FIREWALL_RESTORED, "deleted")])


async def test_it_does_not_fight_for_ever(
    network: Topology, meddler: Inside, firewall: Firewall, logged: list[tuple[LogEvent, str | None]]
) -> None:
    async with guarding(network, firewall) as states:
        for restored in range(1, FREE_RESTORATIONS + 1):
            await asyncio.to_thread(meddler.load, "flush ruleset")
            await eventually(lambda restored=restored: len(logged) == restored)  # type: ignore[misc]
        await asyncio.to_thread(meddler.load, "flush ruleset")
        await eventually(lambda: states[-1] == (False, guard_module.CONTESTED))
        await eventually(lambda: states[-1] == (True, None))
    assert logged == [
        *[(FIREWALL_RESTORED, "deleted")] * FREE_RESTORATIONS,
        (FIREWALL_DEGRADED, "contested"),
        (FIREWALL_RESTORED, "deleted"),
        (FIREWALL_RECOVERED, None),
    ]


def test_a_watch_needs_the_right(network: Topology) -> None:
    assert network.server.call(lambda: TableWatch("hyperion").close()) is None
    output = network.server.run(
        *("setpriv", "--bounding-set=-all", "--inh-caps=-all", "/usr/bin/python3", "-c"),
        "import socket as s\nx = s.socket(s.AF_NETLINK, s.SOCK_RAW, 12)\nx.bind((0, 0))\n"
        "try: x.setsockopt(270, 1, 7)\nexcept PermissionError: print('refused')",
    )
    assert output == "refused\n"


def test_a_flood_of_messages_counts_as_a_change(network: Topology, backend: Inside) -> None:
    watch = network.server.call(lambda: TableWatch("hyperion"))
    watch._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    backend.load("".join(f"add table inet t{number}\n" for number in range(500)))
    assert watch.changed()  # nothing of it was ours, but what was lost might have been
    while watch.changed():
        pass
    backend.load("add table inet u")
    assert not watch.changed()
    watch.close()


async def test_a_table_that_the_operator_loads_at_last_is_adopted_soon(
    network: Topology, backend: Inside, meddler: Inside, logged: list[tuple[LogEvent, str | None]]
) -> None:
    firewall = Firewall(backend, RULES)
    async with guarding(network, firewall) as states:
        assert states == [(False, "table-missing")]
        await asyncio.sleep(3)  # by now the guard waits for seconds
        await asyncio.to_thread(meddler.load, ruleset_text(Ruleset(TUNNEL_PORT, keep_ports=(22,))))
        await eventually(lambda: states[-1] == (True, None), seconds=1)
    assert logged == [(FIREWALL_DEGRADED, "table-missing"), (FIREWALL_RECOVERED, None)]


async def test_the_operator_may_change_the_table_when_he_says_so(
    network: Topology, meddler: Inside, firewall: Firewall, logged: list[tuple[LogEvent, str | None]]
) -> None:
    firewall.admit(network.admin.ipv4, 60)
    watch = network.server.call(lambda: TableWatch("hyperion"))
    guard = Guard(firewall, watch, lambda *_: None)
    task = asyncio.create_task(guard.run())
    await asyncio.sleep(0.2)
    await guard.hold(30)
    await asyncio.to_thread(meddler.load, ruleset_text(Ruleset(TUNNEL_PORT, keep_ports=(2_222,))))
    await asyncio.sleep(0.5)
    await guard.hold(0)
    await eventually(firewall.in_force)
    await asyncio.to_thread(meddler.load, "flush ruleset")
    await eventually(lambda: logged == [(FIREWALL_RESTORED, "deleted")])
    assert "keep-port 2222" in await asyncio.to_thread(meddler.list_text, "ruleset")
    assert set(await asyncio.to_thread(firewall.grants)) == {network.admin.ipv4}
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    watch.close()
