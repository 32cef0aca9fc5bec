"""knockd as a process, started as the supervisor starts it, in a network where others knock, flood and go away."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.proto.control_knockd import Admitted, Fault, GateState, Held, Hold, KnockCounts, Ready, Revoke, Stop
from tests.helpers.knockd_process import (
    PORT,
    SET,
    TABLE,
    TTL,
    KnockdProcess,
    elements,
    knock,
    load_table,
    send,
    status,
)
from tests.helpers.netns import Topology, topology
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft")]

NET_ADMIN = "0000000000001000"
PROMPT_SECONDS = 2.0


@pytest.fixture
def network(network: Topology) -> Iterator[Topology]:
    """With the gate's table on the server."""
    load_table(network.server)
    yield network
    network.server.run("nft", "flush", "ruleset")


@pytest.fixture
def knockd(network: Topology, tmp_path: Path) -> Iterator[KnockdProcess]:
    with KnockdProcess(network.server, tmp_path) as made:
        made.expect(GateState, lambda state: state.ok)
        yield made


def test_a_knock_opens_for_its_sender(network: Topology, knockd: KnockdProcess) -> None:
    for host, source, target in (
        (network.admin, network.admin.ipv4, network.server.ipv4),
        (network.admin, network.admin.ipv6, network.server.ipv6),
    ):
        send(host, target, knock())
        admitted = knockd.expect(Admitted)
        assert (admitted.source, admitted.ttl, bool(admitted.knock)) == (source, TTL, True)
    found = elements(network.server)
    assert found.keys() == {network.admin.ipv4, network.admin.ipv6}
    assert all(element["timeout"] == TTL and 0 < element["expires"] <= TTL for element in found.values())


def test_one_right_is_left(knockd: KnockdProcess) -> None:
    facts = status(knockd.pid)
    assert {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {NET_ADMIN}
    assert facts["NoNewPrivs"] == "1"
    assert facts["Name"] == "hyp-knockd"
    for thread in Path(f"/proc/{knockd.pid}/task").iterdir():
        assert status(int(thread.name))["CapEff"] == NET_ADMIN


def test_the_wrong_ones_open_nothing_and_are_told_once(network: Topology, knockd: KnockdProcess) -> None:
    right = knock()
    wrong = [knock(-60), knock(60), knock(port=22), right[:-1], right + b"x", b"XXXX" + right[4:], bytes(44)]
    wrong += [right[:place] + bytes([right[place] ^ 1]) + right[place + 1 :] for place in range(4, 44)]
    send(network.attacker, network.server.ipv4, *wrong)
    knockd.count("not-authentic", 40)
    send(network.attacker, network.server.ipv4, right, right)
    knockd.expect(Admitted)
    knockd.count("replayed")
    assert elements(network.server).keys() == {network.attacker.ipv4}
    refusals = [line for line in knockd.log() if line["event"]["code"] == "HYP1002W"]
    assert 1 <= len(refusals) <= 5  # one a second
    assert refusals[0]["source"]["ip"] == network.attacker.ipv4


def test_the_same_knock_after_a_kill_is_refused(network: Topology, knockd: KnockdProcess) -> None:
    _replay_after_kill(network, knockd, 3)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_same_knock_after_a_kill_is_refused_100_times(network: Topology, knockd: KnockdProcess) -> None:
    _replay_after_kill(network, knockd, 100)


def _replay_after_kill(network: Topology, knockd: KnockdProcess, rounds: int) -> None:
    for number in range(rounds):
        # (a clock that is behind has to wait after the first start, which knows nothing about the time before it)
        seen = knock(offset=(0, 25, 1)[number % 3])
        send(network.admin, network.server.ipv4, seen)
        knockd.expect(Admitted)
        knockd.kill()
        network.server.run("nft", "flush", "set", "inet", "hyperion", "admitted")
        knockd.start()
        send(network.attacker, network.server.ipv4, seen)
        assert knockd.count("replayed") == 1
        assert elements(network.server) == {}
        # an honest one gets in at once
        send(network.admin, network.server.ipv4, knock())
        knockd.expect(Admitted, timeout=PROMPT_SECONDS)
        _revoke(network, knockd)


def test_the_end_of_the_channel_is_the_end(network: Topology, knockd: KnockdProcess) -> None:
    send(network.admin, network.server.ipv4, knock())
    knockd.expect(Admitted)
    knockd.socket.close()
    began = time.monotonic()
    assert knockd.ended() == 0
    assert time.monotonic() - began < PROMPT_SECONDS
    # fails closed: the table stays, the grant ends by itself
    assert elements(network.server)[network.admin.ipv4]["timeout"] == TTL


def test_stop_and_revoke(network: Topology, knockd: KnockdProcess) -> None:
    send(network.admin, network.server.ipv4, knock())
    knockd.expect(Admitted)
    _revoke(network, knockd)
    knockd.send(Stop())
    assert knockd.ended() == 0


def _revoke(network: Topology, knockd: KnockdProcess) -> None:
    knockd.send(Revoke(network.admin.ipv4))
    deadline = time.monotonic() + PROMPT_SECONDS
    while elements(network.server):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_operator_may_change_the_table_when_he_says_so(network: Topology, knockd: KnockdProcess) -> None:
    server = network.server
    knockd.send(Hold(30.0))
    knockd.expect(Held)
    server.run("nft", "delete", "table", "inet", TABLE)
    time.sleep(0.5)  # as long as a guard that was not held would need ten times over
    assert server.run("nft", "list", "ruleset") == ""
    server.run("nft", "-f", "-", input=ruleset_text(Ruleset(PORT, table=TABLE, set=SET, keep_ports=(2_222,))))
    knockd.send(Hold(0.0))
    knockd.expect(Held)
    time.sleep(0.5)
    server.run("nft", "flush", "ruleset")
    until(lambda: "keep-port 2222" in server.run("nft", "list", "ruleset"))
    knockd.send(Hold(30.0))
    knockd.expect(Held)
    server.run("nft", "delete", "table", "inet", TABLE)
    knockd.send(Hold(0.0))
    knockd.expect(GateState, lambda state: not state.ok)  # fails closed
    assert server.run("nft", "list", "ruleset") == ""
    load_table(server)
    knockd.expect(GateState, lambda state: state.ok)


def test_a_knock_again_extends_the_grant(network: Topology, knockd: KnockdProcess) -> None:
    send(network.admin, network.server.ipv4, knock())
    knockd.expect(Admitted)
    time.sleep(2.1)
    assert elements(network.server)[network.admin.ipv4]["expires"] < TTL - 1
    send(network.admin, network.server.ipv4, knock())
    knockd.expect(Admitted)
    assert elements(network.server)[network.admin.ipv4]["expires"] >= TTL - 1


def test_a_flood_shuts_nobody_out_and_nothing_answers_it(network: Topology, knockd: KnockdProcess) -> None:
    stop = threading.Event()
    sent = 0

    def flood() -> None:
        nonlocal sent
        with network.attacker.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            while not stop.is_set():
                for _ in range(50):
                    sock.sendto(b"HVPK" + bytes(40), (network.server.ipv4, PORT))
                sent += 50
                time.sleep(0.005)  # about 9,000 a second: the machine is shared

    out = network.router.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    out.bind(("to-server", 0x0800))
    out.setblocking(False)
    thread = threading.Thread(target=flood)
    thread.start()
    try:
        for _ in range(5):
            began = time.monotonic()
            send(network.admin, network.server.ipv4, knock())
            knockd.expect(Admitted, timeout=PROMPT_SECONDS)
            assert time.monotonic() - began < 1
            time.sleep(1.05)  # a younger grant would not be renewed
        knockd.send(Stop())
        assert knockd.ended() == 0
    finally:
        stop.set()
        thread.join()
    answers = 0
    with out:
        while True:
            try:
                _, address = out.recvfrom(2_048)
            except BlockingIOError:
                break
            answers += address[2] == socket.PACKET_HOST  # came from the server
    assert sent > 5_000
    assert answers == 0
    assert len(knockd.log()) < 100


#: target, packets a second, seconds -> how many were sent
FLOOD = """
import socket, sys, time
target, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((target, 8443))
began, sent = time.monotonic(), 0
while (now := time.monotonic() - began) < seconds:
    for _ in range(min(500, int(now * rate) - sent)):
        try:
            sock.send(b"HVPK" + bytes(40))
        except OSError:
            pass  # an ICMP error would be an answer, and is counted by the test
        sent += 1
print(sent)
"""


@pytest.mark.long
@pytest.mark.timeout(180)
def test_50_000_packets_a_second_for_a_minute(network: Topology, knockd: KnockdProcess) -> None:
    """At least 99 of 100 honest knocks, one a second, open within a second."""
    rate, seconds, late = 50_000, 60, 0
    flood = network.attacker.popen(
        sys.executable, "-c", FLOOD, network.server.ipv4, str(rate), str(seconds + 2), stdout=subprocess.PIPE, text=True
    )
    # a grant younger than a second would not be renewed, so several take turns
    others = [f"10.77.1.{number}" for number in (3, 4)]
    for other in others:
        network.admin.ip("address", "add", f"{other}/24", "dev", "eth0")
    times = []
    for number in range(seconds):
        began = time.monotonic()
        send(network.admin, network.server.ipv4, knock(), source=others[number % 2])
        try:
            knockd.expect(Admitted, timeout=1.0)
        except TimeoutError:
            late += 1
        times.append(time.monotonic() - began)
        time.sleep(max(0.0, began + 1 - time.monotonic()))
    sent = int(flood.communicate(timeout=60)[0])
    times.sort()
    print(f"{sent} sent, {late} late, p50 {times[30] * 1e3:.1f} ms, worst {times[-1] * 1e3:.1f} ms")
    counts = [message for message in knockd.seen if isinstance(message, KnockCounts)][-1]
    print(f"{counts.verdicts}, {counts.dropped} dropped, {knockd.cpu_seconds():.0f} s of CPU")
    assert late <= seconds // 100 + 1
    assert sent > 0.5 * rate * seconds  # or the machine could not flood


@pytest.mark.alone
@pytest.mark.parametrize("rounds", [3, pytest.param(100, marks=pytest.mark.long)])
@pytest.mark.timeout(600)
def test_interfaces_come_and_go(network: Topology, knockd: KnockdProcess, rounds: int) -> None:
    for _ in range(rounds):
        network.cut(network.server)
        before = knockd.cpu_seconds()
        time.sleep(0.3)
        assert knockd.cpu_seconds() - before < 0.1
        network.wire(network.server)
        began = time.monotonic()
        while time.monotonic() - began < PROMPT_SECONDS:
            send(network.admin, network.server.ipv4, knock())
            try:
                knockd.expect(Admitted, timeout=0.3)
                break
            except TimeoutError:
                continue
        else:
            pytest.fail("no admission within two seconds")
        # a grant younger than a second is not renewed
        knockd.send(Revoke(network.admin.ipv4))


def test_without_a_table_it_is_not_well_until_there_is_one(tmp_path: Path) -> None:
    with topology() as network, KnockdProcess(network.server, tmp_path) as knockd:
        state = knockd.expect(GateState, lambda state: "not looked" not in str(state.reason))
        assert not state.ok
        assert "table" in str(state.reason)
        load_table(network.server)
        knockd.expect(GateState, lambda state: state.ok, timeout=15)
        send(network.admin, network.server.ipv4, knock())
        knockd.expect(Admitted)


@pytest.mark.needs("setpriv")
@pytest.mark.parametrize("missing", ["net_raw", "net_admin"])
def test_without_a_right_that_it_needs_it_says_so(network: Topology, tmp_path: Path, missing: str) -> None:
    prefix = ("setpriv", f"--bounding-set=-{missing}")
    with KnockdProcess(network.server, tmp_path, prefix=prefix, ready=False) as made:
        fault = made.expect(Fault, timeout=20)
        assert fault.exit_code == made.ended() == 77
        assert f"CAP_{missing.upper()}" in str(fault.hint)


def test_a_full_disk_refuses_and_says_so(network: Topology, tmp_path: Path) -> None:
    # Inside "ip netns exec" there is a mount namespace, so this disk exists for knockd alone.
    disk = f'mount -t tmpfs -o size=8k,mode=700 small {tmp_path} && exec "$@"'
    with KnockdProcess(network.server, tmp_path, prefix=("sh", "-c", disk, "sh")) as made:
        made.expect(GateState, lambda state: state.ok)
        send(network.admin, network.server.ipv4, *[knock() for _ in range(150)])
        state = made.expect(GateState, lambda state: not state.ok)
        assert "No space left" in str(state.reason)
        refused = made.count("not-remembered")
        assert 0 < refused < 150
        # what was let in before stays in, who comes now does not get in
        send(network.attacker, network.server.ipv4, knock())
        made.count("not-remembered", refused + 1)
        assert elements(network.server).keys() == {network.admin.ipv4}


def test_nothing_heavy_or_foreign_is_loaded() -> None:
    code = "import sys, hyperion.knockd.__main__; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=30
    )
    loaded = set(done.stdout.split())
    assert {"hyperion", "asyncio"} <= loaded
    assert not loaded & {"scapy", "pyroute2", "click", "rich", "noise", "uvloop", "argon2", "tomlkit"}


def test_ready_comes_first(knockd: KnockdProcess) -> None:
    assert isinstance(knockd.seen[0], Ready)
