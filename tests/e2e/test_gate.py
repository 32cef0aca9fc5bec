"""The gate as a whole: real server, real knockd, real ruleset, genuine knocks; and who looks on from outside."""

import contextlib
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hyperion.proto.control_knockd import Admitted, KnockCounts, Revoke
from tests.helpers.flood import Flood
from tests.helpers.gate import SCANS, SYN, connect, gets_in, scan, udp_scan
from tests.helpers.gated import ECHO_PORT, Gated, Transfer, gated, percentiles
from tests.helpers.knockd_process import PORT, KnockdProcess, elements, send
from tests.helpers.mutations import mutated
from tests.helpers.netns import Host, Topology
from tests.helpers.packets_out import PacketsOut
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(120)]

#: Ports of a short scan: the tunnel's and its neighbours, the service's, and what scanners try first.
FEW_PORTS = [1, 22, 80, 443, ECHO_PORT, PORT - 1, PORT, PORT + 1, 51_820, 65_535]
ALL_PORTS = list(range(1, 65_536))
#: Connects of a scan that are under way at once.
CONNECTS = 500


@pytest.fixture
def server(network: Topology, tmp_path: Path) -> Iterator[Gated]:
    with gated(network, tmp_path) as made:
        yield made
    network.server.run("nft", "flush", "ruleset")


@pytest.fixture
def hasty(network: Topology, tmp_path: Path) -> Iterator[Gated]:
    """Its grants live two seconds."""
    with gated(network, tmp_path, ttl=2) as made:
        yield made
    network.server.run("nft", "flush", "ruleset")


def connect_scan(host: Host, target: str, ports: list[int]) -> None:
    """What ``nmap -sT`` does: the kernel's own connect, to each port."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET

    def inside() -> None:
        for at in range(0, len(ports), CONNECTS):
            with contextlib.ExitStack() as stack:
                for port in ports[at : at + CONNECTS]:
                    sock = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
                    sock.setblocking(False)
                    sock.connect_ex((target, port))

    host.call(inside)


@pytest.mark.parametrize("ports", [FEW_PORTS, pytest.param(ALL_PORTS, marks=pytest.mark.long)], ids=["few", "all"])
@pytest.mark.timeout(600)
def test_no_scan_gets_a_packet(server: Gated, network: Topology, ports: list[int]) -> None:
    """Before a knock: nothing, whoever asks what. After it: the knocker, the tunnel's port, a SYN; nothing else."""
    admin, attacker, sent = network.admin, network.attacker, 0
    out = PacketsOut(network.server, admin.ipv4, admin.ipv6, attacker.ipv4, attacker.ipv6)
    for target in (network.server.ipv4, network.server.ipv6):
        for scanner in (attacker, admin):
            connect_scan(scanner, target, ports)
            for flags in SCANS.values():
                scan(scanner, target, ports, flags)
            udp_scan(scanner, target, ports)
            sent += len(ports) * (len(SCANS) + 2)
    assert out.count() == 0
    for target in (network.server.ipv4, network.server.ipv6):
        server.knock(admin, target)
        server.knockd.expect(Admitted)
        assert out.count() == 0
        # who did not knock: as before
        for flags in SCANS.values():
            scan(attacker, target, ports, flags)
        connect_scan(attacker, target, ports)
        udp_scan(attacker, target, ports)
        # who did: nothing but a SYN to the one port
        for flags in SCANS.values():
            scan(admin, target, [port for port in ports if port != PORT or flags != SYN], flags)
        udp_scan(admin, target, ports)
        sent += len(ports) * (2 * len(SCANS) + 3)
        assert out.count() == 0
        _renew(server, admin, target)
        scan(admin, target, [PORT], SYN)
        assert out.count() > 0
    print(f"{sent} packets of scans, 0 answered")


def _renew(server: Gated, host: Host, target: str) -> None:
    """A long scan outlives the grant."""
    source = host.ipv6 if ":" in target else host.ipv4
    if source not in elements(server.network.server):
        server.knock(host, target)
        server.knockd.expect(Admitted)


@pytest.mark.parametrize("rounds", [2, pytest.param(200, marks=pytest.mark.long)])
@pytest.mark.timeout(1_200)
def test_life_cycle(hasty: Gated, network: Topology, rounds: int) -> None:
    """Knock, in, over; a tunnel that was there before goes on through all of it."""
    admin, target = network.admin, network.server.ipv4
    _, port = hasty.client(admin, target)
    with Transfer(admin, port) as transfer:
        for _ in range(rounds):
            until(lambda: not elements(network.server))
            assert not gets_in(admin, target)
            hasty.knock(admin, target)
            until(lambda: admin.ipv4 in elements(network.server))
            assert gets_in(admin, target)
            assert not gets_in(network.attacker, target)
            assert elements(network.server).keys() <= {admin.ipv4}
            time.sleep(1.5)  # what is left of two seconds
    print(f"{rounds} life cycles, {transfer.sent >> 20} MiB through the tunnel meanwhile, all as sent")


@pytest.mark.parametrize(("ttl", "every"), [(2, 1.1), pytest.param(20, 5.0, marks=pytest.mark.long)])
def test_knocking_again_leaves_no_gap(network: Topology, tmp_path: Path, ttl: int, every: float) -> None:
    """For three times its life a grant that is knocked for again lets in at every second, and oftener."""
    with gated(network, tmp_path, ttl=ttl) as server:
        began, knocked, connects = time.monotonic(), 0, 0
        while (age := time.monotonic() - began) < 3 * ttl:
            if age >= knocked * every:
                server.knock(network.admin, network.server.ipv4)
                server.knockd.expect(Admitted)
                knocked += 1
            assert gets_in(network.admin, network.server.ipv4), f"closed after {age:.1f} s"
            connects += 1
            time.sleep(0.2)
    network.server.run("nft", "flush", "ruleset")
    print(f"ttl {ttl} s: {knocked} knocks, {connects} connects in {3 * ttl} s, 0 gaps")


@pytest.mark.parametrize(("seconds", "kills"), [(4, 2), pytest.param(62, 8, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
def test_no_knock_is_taken_twice(server: Gated, network: Topology, seconds: int, kills: int) -> None:
    """61 timestamps, each sent again at every second for two windows, with kill -9 and restarts in between."""
    knockd, target = server.knockd, network.server.ipv4
    if seconds > 60:
        time.sleep(31)  # a first start takes nothing that was sealed before it
    seen = [server.sealed(offset) for offset in range(-30, 31)]
    send(network.admin, target, *seen)
    first = taken = judged(knockd, len(seen)).get("accepted", 0)
    assert first >= 30
    server.shut()
    heard, lives = len(seen), 0
    for second in range(seconds):
        if second % (seconds // kills) == 1:
            knockd.kill()
            knockd.start()
            heard, taken, lives = 0, 0, lives + 1  # a new process counts anew
        began = time.monotonic()
        send(network.attacker, target, *seen)
        heard += len(seen)
        assert judged(knockd, heard).get("accepted", 0) == taken
        assert network.attacker.ipv4 not in elements(network.server)
        time.sleep(max(0.0, began + 1 - time.monotonic()))
    print(f"{first} of 61 taken once, then {61 * seconds} replays over {lives} restarts: 0 taken")


def judged(knockd: KnockdProcess, count: int) -> dict[str, int]:
    """The verdicts, once there are so many."""
    return knockd.expect(KnockCounts, lambda counts: sum(counts.verdicts.values()) >= count).verdicts


@pytest.mark.parametrize("count", [5_000, pytest.param(200_000, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
def test_changed_knocks_open_nothing(server: Gated, network: Topology, count: int) -> None:
    """Bits flipped, bytes cut and added, pieces of two knocks, noise of the right form: over the wire."""
    chance, out = random.Random(11), PacketsOut(network.server, network.attacker.ipv4)
    right = [server.sealed() for _ in range(8)]
    with network.attacker.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect((network.server.ipv4, PORT))
        for number in range(count):
            sock.send(mutated(right[number % len(right)], right[(number + 1) % len(right)], chance))
            if number % 200 == 0:
                time.sleep(0.01)  # all should be heard
    server.knock(network.admin, network.server.ipv4)
    server.knockd.expect(Admitted, lambda admitted: admitted.source == network.admin.ipv4)
    counts = server.knockd.expect(KnockCounts, lambda counts: counts.verdicts.get("accepted", 0) >= 1)
    assert counts.verdicts["accepted"] == 1  # the honest one
    assert elements(network.server).keys() == {network.admin.ipv4}
    assert out.count() == 0
    assert [line for line in server.knockd.log() if line["event"]["code"] == "HYP9002E"] == []
    print(f"{count} changed knocks: {counts.verdicts}, {counts.dropped} lost in the queue")


@pytest.mark.parametrize("count", [200, pytest.param(3_000, marks=pytest.mark.long)])
def test_a_genuine_knock_for_another_port_opens_nothing(server: Gated, network: Topology, count: int) -> None:
    chance = random.Random(12)
    ports = [0, 22, PORT - 1, PORT + 1, 65_535, *chance.sample([port for port in ALL_PORTS if port != PORT], count)]
    for at in range(0, len(ports), 200):
        batch = [server.sealed(port=port) for port in ports[at : at + 200]]
        send(network.attacker, network.server.ipv4, *batch)
        time.sleep(0.1)
    assert server.knockd.count("wrong-port", len(ports)) == len(ports)
    assert elements(network.server) == {}
    assert not gets_in(network.attacker, network.server.ipv4)


def test_a_knock_for_one_server_is_nothing_to_another(server: Gated, network: Topology, tmp_path: Path) -> None:
    """The same PSK, the same ports, another key: a knock that was recorded on its way to A is sent to B."""
    network.attacker.run("nft", "-f", "-", input=network.server.run("nft", "list", "table", "inet", "hyperion"))
    key = server.knockd.config.knock_key
    with KnockdProcess(network.attacker, tmp_path / "b", knock_key=key, server_public=bytes([9] * 32)) as other:
        recorded = server.sealed()
        send(network.admin, network.attacker.ipv4, recorded)
        assert other.count("not-authentic") == 1
        assert elements(network.attacker) == {}
        send(network.admin, network.server.ipv4, recorded)
        server.knockd.expect(Admitted)
    network.attacker.run("nft", "flush", "ruleset")


def test_who_captured_and_held_back_a_knock_reaches_the_port_and_no_more(server: Gated, network: Topology) -> None:
    """What the header's source costs (B6): the knock opens for who delivers it. Without keys that is all."""
    send(network.attacker, network.server.ipv4, server.sealed())
    server.knockd.expect(Admitted, lambda admitted: admitted.source == network.attacker.ipv4)
    for _ in range(2):
        with connect(network.attacker, network.server.ipv4, timeout=5) as client:
            client.sendall(b"\x00\x60" + random.Random(1).randbytes(96))
            assert client.recv(100) == b""
    assert server.server.events("session-opened") == []


@pytest.mark.alone
@pytest.mark.parametrize(
    ("rate", "seconds"), [(5_000, 4), pytest.param(50_000, 60, marks=pytest.mark.long)], ids=["short", "long"]
)
@pytest.mark.timeout(240)
def test_a_flood_costs_a_running_tunnel_nothing(server: Gated, network: Topology, rate: int, seconds: int) -> None:
    """... and of the honest, who come once a second and knock as the client does, 99 of 100 are in within a second.

    (What becomes of a single datagram in a flood is shown by knockd's own test.)
    """
    admin, target, out = network.admin, network.server.ipv4, PacketsOut(network.server, network.attacker.ipv4)
    _, port = server.client(admin, target)
    took, knocks = [], 0
    with Transfer(admin, port) as transfer:
        flood = Flood(network.attacker, target, rate, seconds + 1)
        for _ in range(seconds):
            began = time.monotonic()
            server.knockd.send(Revoke(admin.ipv4))
            time.sleep(0.1)
            dial = server.dial(admin, server.target)
            assert dial.reason is None
            took.append(sum(step.milliseconds for step in dial.steps if step.name in ("knock", "connect")) / 1_000)
            knocks += dial.knocks
            time.sleep(max(0.0, began + 1 - time.monotonic()))
        sent = flood.sent()
    late = sum(each > 1 for each in took)
    print(
        f"{sent} knock-shaped packets in {seconds} s: {late} of {seconds} dials late, {percentiles(took)} from the "
        f"first of {knocks} knocks to the connection; {transfer.sent >> 10} KiB as sent"
    )
    assert late <= seconds // 100
    assert out.count() == 0
