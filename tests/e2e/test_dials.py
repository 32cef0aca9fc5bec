"""The client against a real gate: knocks that are lost, clocks that are off, wrong keys, and how long it all takes."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from hyperion.proto.control import KnockOrder, TunnelState
from hyperion.proto.errors import RecordError
from hyperion.proto.knock import derive_knock_key
from hyperion.worker import connector, knocker
from hyperion.worker.addresses import Address, resolve
from hyperion.worker.connector import Target
from hyperion.worker.pool import Pool
from tests.helpers.gate import Outgoing, gets_in
from tests.helpers.gated import Dial, Gated, gated, percentiles
from tests.helpers.knockd_process import PORT, elements
from tests.helpers.netns import Topology, topology

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def server(network: Topology, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(network, tmp_path_factory.mktemp("g")) as made:
        yield made


@pytest.fixture
def shut(server: Gated) -> Iterator[Gated]:
    yield server
    server.network.router.run("nft", "flush", "ruleset")
    server.shut()


def lose(network: Topology, percent: int, what: str = "udp dport") -> None:
    """The router loses so many of a hundred knocks, by chance."""
    network.router.run("nft", "flush", "ruleset")
    chance = f"numgen random mod 100 < {percent}" if percent < 100 else ""
    rule = f"{what} {PORT} {chance} drop"
    chain = f"chain c {{ type filter hook forward priority 0; {rule}; }}"
    network.router.run("nft", "-f", "-", input=f"table inet loss {{\n{chain}\n}}\n")


def show(title: str, dials: list[Dial]) -> None:
    knocks = sum(dial.knocks for dial in dials)
    print(f"{title}: {len(dials)} dials, {percentiles([dial.seconds for dial in dials])}, {knocks} knocks")


def to_ipv6(target: Target, network: Topology) -> Target:
    return msgspec.structs.replace(target, host=network.server.ipv6)


# (the short form runs beside other tests: there it shows that nothing waits for the kernel's second)
@pytest.mark.alone
@pytest.mark.parametrize(("count", "bound"), [(30, 0.15), pytest.param(500, 0.03, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
def test_a_gate_costs_a_few_milliseconds(shut: Gated, network: Topology, count: int, bound: float) -> None:
    for target in (shut.target, to_ipv6(shut.target, network)):
        dials = shut.dials(network.admin, target, count)
        show(f"no loss, {target.host}", dials)
        assert [dial.reason for dial in dials if dial.reason] == []
        times = sorted(dial.seconds for dial in dials)
        assert times[len(times) // 2] <= bound


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.parametrize("percent", [30, 50])
@pytest.mark.timeout(600)
def test_lost_knocks_cost_time_and_no_dial(shut: Gated, network: Topology, percent: int, count: int) -> None:
    lose(network, percent)
    dials = shut.dials(network.admin, shut.target, count)
    show(f"{percent} % of the knocks lost", dials)
    assert [dial.reason for dial in dials if dial.reason] == []


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.long)])
def test_lost_packets_of_tcp_are_not_waited_for(shut: Gated, network: Topology, rounds: int) -> None:
    """The kernel repeats a lost SYN after a second; we begin anew."""
    lose(network, 50, "tcp flags syn tcp dport")
    dials = shut.dials(network.admin, shut.target, rounds)
    show("50 % of the SYNs lost", dials)
    assert [dial.reason for dial in dials if dial.reason] == []
    connects = sorted(step.milliseconds for dial in dials for step in dial.steps if step.name == "connect")
    assert connects[len(connects) // 2] < 700


def test_without_a_knock_nobody_is_there(shut: Gated, network: Topology) -> None:
    target = msgspec.structs.replace(shut.target, knock=None)
    assert shut.dial(network.admin, target).reason == "connect-timeout"
    assert shut.dial(network.admin, shut.target).reason is None


def test_what_knocked_and_was_not_let_in_leaves_nothing(shut: Gated, network: Topology) -> None:
    """No descriptor here, no connection there."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    lose(network, 100)
    dial = shut.dial(network.admin, shut.target)
    assert (dial.reason, dial.knocks) == ("knock-unanswered", 23)
    assert [(step.name, step.ok) for step in dial.steps] == [("resolve", True), ("knock", True), ("connect", False)]
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    half_open = network.server.run("ss", "-Htan", "state", "established", "state", "syn-recv", "sport", "=", f":{PORT}")
    assert half_open == ""


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"psk": bytes(32), "knock": KnockOrder(derive_knock_key(bytes(32)), PORT)}, "not-authentic"),
        ({"server_public": bytes([9] * 32)}, "not-authentic"),
    ],
    ids=["PSK", "server key"],
)
def test_wrong_secrets_are_silence(shut: Gated, network: Topology, changes: dict[str, object], verdict: str) -> None:
    outgoing = Outgoing(network.server)
    assert shut.dial(network.admin, msgspec.structs.replace(shut.target, **changes)).reason == "knock-unanswered"
    assert outgoing.towards(network.admin.ipv4) == []
    outgoing.close()
    assert shut.knockd.count(verdict, 20)


def test_a_wrong_idea_of_the_servers_clock_costs_one_knock(shut: Gated, network: Topology) -> None:
    """The client's clock was set right after it had learned the difference: its own is tried in turn."""
    for skew in (3_600_000, -3_600_000, 4 * 3_600_000):
        assert shut.target.knock is not None
        order = msgspec.structs.replace(shut.target.knock, skew_ms=skew)
        dial = shut.dial(network.admin, msgspec.structs.replace(shut.target, knock=order))
        assert dial.reason is None
        assert dial.knocks >= 2
        shut.shut()


# (a knockd that has just started for the first time takes nothing from before its start)
@pytest.mark.parametrize("ahead", [-4.0, 25.0])
def test_the_servers_clock_is_learned(
    shut: Gated, network: Topology, ahead: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client whose clock is off, but inside the window: later knocks carry the server's time."""
    monkeypatch.setattr(connector, "time", Clock(ahead))
    monkeypatch.setattr(knocker, "time", Clock(ahead))

    async def twice() -> list[int | None]:
        made = connector.Connector(shut.target)
        known = []
        for _ in range(2):
            session = connector.TunnelSession()
            connection, _ = await made.connect(session)
            connection.go_away(RecordError("enough"))
            await session.closed
            known.append(made.clock.skew_ms)
            await asyncio.sleep(1.1)  # a younger grant would not be renewed, and so not be told
        return known

    def accepted() -> list[float]:
        """How far off each knock was, seconds."""
        lines = [line for line in shut.knockd.log() if line["event"]["code"] == "HYP1001I"]
        return [line["hyperion"]["knock"]["skew_ms"] / 1_000 for line in lines]

    before = len(accepted())
    known = network.admin.call(lambda: asyncio.run(twice()))
    assert all(abs((skew or 0) + ahead * 1_000) < 500 for skew in known)
    off = accepted()[before:]  # the first dial's, maybe several, then the second one's
    assert abs(off[0]) > 0.6 * abs(ahead)
    assert any(abs(each) < 1.5 for each in off)


class Clock:
    """The module ``time`` on a machine whose clock is off by some seconds."""

    def __init__(self, ahead: float) -> None:
        self._ahead = ahead
        self.monotonic = time.monotonic

    def time(self) -> float:
        return time.time() + self._ahead


@pytest.mark.parametrize("first", ["ipv6", "ipv4"])
def test_a_family_that_leads_nowhere_costs_a_moment(
    shut: Gated, network: Topology, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with both families, one of which is swallowed on the way: knock and connection use the other one."""
    network.router.run("nft", "flush", "ruleset")
    swallowed = {"ipv6": "ip6 daddr", "ipv4": "ip daddr"}[first] + " " + getattr(network.server, first)
    rule = f"chain c {{ type filter hook forward priority 0; {swallowed} drop; }}"
    network.router.run("nft", "-f", "-", input=f"table inet loss {{\n{rule}\n}}\n")
    hosts = [network.server.ipv6, network.server.ipv4][:: 1 if first == "ipv6" else -1]

    async def both(host: str, port: int) -> list[Address]:
        return [(await resolve(each, port))[0] for each in hosts]

    monkeypatch.setattr(connector, "resolve", both)
    dial = shut.dial(network.admin, shut.target)
    assert dial.reason is None
    assert 0.2 < dial.seconds < 2.5  # of five; on a busy machine it may have begun anew
    assert len(elements(network.server)) == 1


def test_no_route_ends_that_dial_only(shut: Gated, network: Topology) -> None:
    network.admin.ip("route", "delete", "default")
    try:
        dial = shut.dial(network.admin, shut.target)
        assert dial.reason == "unreachable"
        assert [(step.name, step.ok) for step in dial.steps] == [("resolve", True), ("knock", False)]
        assert dial.seconds < 1
    finally:
        network.admin.ip("route", "add", "default", "via", "10.77.1.1")
    assert shut.dial(network.admin, shut.target).reason is None


@pytest.mark.parametrize("version", [4, 6])
def test_doctor_shows_each_step(shut: Gated, network: Topology, version: int) -> None:
    file = shut.client_file(network.server.ipv4 if version == 4 else network.server.ipv6)
    status, server = shut.examine(network.admin, file)
    assert status == 0
    assert [step["name"] for step in server["steps"]] == ["resolve", "knock", "connect", "handshake", "record"]
    assert all(step["ok"] for step in server["steps"])
    assert server["knocks"] >= 1
    assert abs(server["skew_ms"]) < 1_000


def test_doctor_tells_why_a_gate_may_have_stayed_shut(shut: Gated, network: Topology) -> None:
    status, out = shut.doctor(
        network.admin, shut.client_file(network.server.ipv4, psk="A" * 43 + "="), "--timeout", "2"
    )
    assert status == 75
    assert "knocks went out, and the port did not open" in out
    assert "clock is more than" in out
    assert "passphrase, salt or PSK differs" in out


def test_doctor_tells_a_machine_without_a_gate(shut: Gated, network: Topology) -> None:
    """The router itself: it answers, so nothing is shut."""
    status, server = shut.examine(network.admin, shut.client_file("10.77.1.1"))
    assert (status, server["reason"]) == (1, "refused")
    assert "no closed gate" in server["hint"]
    # TCP swallowed, UDP rejected: the ICMP message about the knock is what tells
    rule = f"chain c {{ type filter hook input priority 0; tcp dport {PORT} drop; }}"
    network.router.run("nft", "-f", "-", input=f"table inet loss {{\n{rule}\n}}\n")
    status, server = shut.examine(network.admin, shut.client_file("10.77.1.1"), "--timeout", "2")
    assert (status, server["reason"]) == (75, "knock-unanswered")
    assert server["causes"][0].startswith(f"the machine at this address rejects UDP port {PORT}")


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
def test_one_connection_for_each_knock(tmp_path: Path, rounds: int) -> None:
    """The server takes the grant back at the first SYN: a pool gets in all the same, also when knocks are lost."""
    with topology() as network, gated(network, tmp_path, one_shot=True) as server:
        dial = server.dial(network.admin, server.target)
        assert dial.reason is None
        # What was on its way when the first knock had opened opened anew, once each.
        more = sum(1 for _ in iter(lambda: gets_in(network.admin, network.server.ipv4), False))
        assert more < dial.knocks
        lose(network, 30)
        dials = [server.dial(network.admin, server.target) for _ in range(rounds)]
        assert [dial.reason for dial in dials if dial.reason] == []

        async def pool() -> TunnelState:
            states: list[TunnelState] = []
            pool = Pool(connector.Connector(server.target), 4, states.append)
            pool.start()
            async with asyncio.timeout(20):
                while not states or states[-1].up < 4:
                    await asyncio.sleep(0.01)
            await pool.close("stop")
            return states[-1]

        began = time.monotonic()
        network.admin.call(lambda: asyncio.run(pool()))
        print(f"a pool of 4, each with a knock of its own, 30 % lost: {time.monotonic() - began:.2f} s")
