"""tund as a process, started as the supervisor starts it, with listeners in place of workers."""

import contextlib
import errno
import hashlib
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest

from hyperion.proto.control_tund import Fault, ForgetTarget, ReflectorCounts, Stop, WantListener
from tests.helpers.netns import Host, alone
from tests.helpers.transparent import snapshot
from tests.helpers.tund_process import (
    DEVICE,
    OWN,
    OWN6,
    SERVERS,
    SERVERS6,
    SETTINGS,
    TundProcess,
    connect,
    listen,
    serving,
    target,
    with_mtu,
)

pytestmark = [pytest.mark.root, pytest.mark.needs("ip")]

MIB = 1 << 20


@pytest.fixture
def host() -> Iterator[Host]:
    with alone() as made:
        yield made


@pytest.fixture
def tund(host: Host) -> Iterator[TundProcess]:
    with TundProcess(host) as made:
        yield made


def status(pid: int) -> dict[str, str]:
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def echo(listener: socket.socket, size: int) -> threading.Thread:
    """Takes ``size`` bytes from one connection and sends their hash."""

    def serve() -> None:
        sock, _ = listener.accept()
        digest = hashlib.sha256()
        with sock:
            left = size
            while left and (data := sock.recv(MIB)):
                digest.update(data)
                left -= len(data)
            sock.sendall(digest.digest())

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.mark.parametrize(("own", "servers"), [(OWN, SERVERS), (OWN6, SERVERS6)], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("mtu", [1_280, 1_420, 9_000, 65_535])
@pytest.mark.parametrize("offload", [True, False], ids=["TSO", "plain"])
def test_bulk_arrives_whole(host: Host, own: str, servers: dict[str, str], mtu: int, offload: bool) -> None:
    data = random.Random(mtu).randbytes(4 * MIB)
    with TundProcess(host, with_mtu(mtu, offload=offload)) as tund, serving(host, tund, 443, own) as listener:
        thread = echo(listener, len(data))
        with connect(host, servers["web1"], 443) as sock:
            assert sock.getpeername()[:2] == (servers["web1"], 443)
            sock.sendall(data)
            assert sock.recv(32) == hashlib.sha256(data).digest()
            assert sock.recv(1) == b""
        thread.join()


def test_no_right_is_left(tund: TundProcess) -> None:
    facts = status(tund.pid)
    assert {facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert facts["NoNewPrivs"] == "1"
    assert facts["Name"] == "hyp-tund"


def test_it_is_small(tund: TundProcess) -> None:
    with open(f"/proc/{tund.pid}/smaps_rollup", encoding="ascii") as lines:
        pss = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    assert pss <= 15 * 1024


def test_refusals_speak_at_once(host: Host, tund: TundProcess) -> None:
    tund.send(target("web1", (22, 40_000)))
    tund.send(target("web2", (22, 40_001), up=False))
    for servers in (SERVERS, SERVERS6):
        for name, port, expected in (
            ("web1", 23, errno.ECONNREFUSED),
            ("web2", 22, errno.EHOSTUNREACH),
            ("web2", 23, errno.EHOSTUNREACH),
            ("db1", 22, errno.EHOSTUNREACH),
        ):
            began = time.monotonic()
            with pytest.raises(OSError) as caught:  # noqa: PT011 - which one is judged below
                connect(host, servers[name], port)
            assert caught.value.errno == expected
            assert time.monotonic() - began < 1


def test_udp_is_refused(host: Host, tund: TundProcess) -> None:
    tund.send(target("web1", (22, 40_000)))
    for family, servers in ((socket.AF_INET, SERVERS), (socket.AF_INET6, SERVERS6)):
        with host.socket(family, socket.SOCK_DGRAM) as sock:
            sock.settimeout(5)
            sock.connect((servers["web1"], 53))
            sock.send(b"question")
            with pytest.raises(ConnectionRefusedError):
                sock.recv(100)


@pytest.mark.needs("ping")
def test_ping_while_it_is_up(host: Host, tund: TundProcess) -> None:
    tund.send(target("web1", (22, 40_000)))
    for address in (SERVERS["web1"], SERVERS6["web1"]):
        assert " 0% packet loss" in host.run("ping", "-c", "2", "-i", "0.1", "-s", "3001", "-W", "2", address)
    tund.send(target("web1", (22, 40_000), up=False))
    for address in (SERVERS["web1"], SERVERS6["web1"]):
        assert "nreachable" in host.run("ping", "-c", "1", "-W", "2", address, check=False)


def test_an_old_servers_port_is_opened_on_demand(host: Host, tund: TundProcess) -> None:
    with listen(host, OWN) as listener:
        tund.send(target("web1", closed=False))
        answer: list[socket.socket] = []
        began = time.monotonic()
        thread = threading.Thread(target=lambda: answer.append(connect(host, SERVERS["web1"], 5432)))
        thread.start()
        assert tund.expect(WantListener) == WantListener("web1", 5432)
        tund.send(target("web1", (5432, listener.getsockname()[1]), closed=False))
        thread.join()
        assert time.monotonic() - began < 0.8  # the first SYN, not the one that is sent again after a second
        answer[0].close()


def test_nobody_waits_for_a_worker_that_does_not_listen(host: Host, tund: TundProcess) -> None:
    tund.send(target("web1", closed=False))
    began = time.monotonic()
    with pytest.raises(ConnectionRefusedError):
        connect(host, SERVERS["web1"], 5432)
    assert time.monotonic() - began < 1


def test_a_server_that_is_forgotten(host: Host, tund: TundProcess) -> None:
    tund.send(target("web1", (22, 40_000)))
    tund.send(ForgetTarget("web1"))
    with pytest.raises(OSError) as caught:  # noqa: PT011
        connect(host, SERVERS["web1"], 22)
    assert caught.value.errno == errno.EHOSTUNREACH


def test_the_listeners_are_for_the_device_only(host: Host, tund: TundProcess) -> None:
    with serving(host, tund, 22) as listener, pytest.raises(ConnectionRefusedError):
        connect(host, "127.0.0.1", listener.getsockname()[1])


def test_an_application_at_another_address_of_this_machine_is_refused(host: Host, tund: TundProcess) -> None:
    host.ip("address", "add", "192.0.2.7/32", "dev", "lo")
    with serving(host, tund, 22), host.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(5)
        sock.bind(("192.0.2.7", 0))
        with pytest.raises(ConnectionRefusedError):
            sock.connect((SERVERS["web1"], 22))


@pytest.mark.parametrize("end", ["stop", "end of the supervisor", "kill"])
def test_nothing_is_left(host: Host, end: str) -> None:
    before = snapshot(host)
    routes = ("203.0.113.9/32", "2001:db8::9/128")
    with TundProcess(host, msgspec.structs.replace(SETTINGS, routes=routes, table=4711)) as tund:
        assert "203.0.113.9" in host.ip("route", "show", "table", "4711")
        assert "2001:db8::9" in host.ip("-6", "route", "show", "table", "4711")
        match end:
            case "stop":
                tund.send(Stop())
                assert tund.ended() == 0
            case "end of the supervisor":
                tund.socket.close()
                assert tund.ended() == 0
            case _:
                tund.kill()
    wait_until(lambda: snapshot(host) == before)


def wait_until(condition: "object", seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize(
    "occupy",
    [
        ("address", "add", "10.99.0.7/24", "dev", "lo"),
        ("route", "add", "10.0.0.0/8", "dev", "lo"),
        ("route", "add", "10.99.0.128/25", "dev", "lo", "table", "99"),
    ],
    ids=["address", "wide route", "route of another table"],
)
def test_a_network_that_is_in_use_is_refused_and_a_free_one_named(host: Host, occupy: tuple[str, ...]) -> None:
    host.ip(*occupy)
    before = snapshot(host)
    with TundProcess(host, ready=False) as tund:
        fault = tund.expect(Fault)
        assert fault.exit_code == 78
        assert tund.ended() == 78
    assert snapshot(host) == before
    assert "10.99.0.0/24 is in use on this machine (10." in fault.reason
    assert fault.hint is not None
    address, prefix = fault.hint.split('addr = "')[1].split('"')[0], 24
    settings = msgspec.structs.replace(SETTINGS, ipv4=f"{address}/{prefix}")
    with TundProcess(host, settings):
        assert address in host.ip("address", "show", "dev", DEVICE)


def test_beside_a_vpn_that_takes_everything(host: Host) -> None:
    host.ip("link", "add", "vpn0", "type", "veth", "peer", "vpn1")
    host.ip("link", "set", "vpn0", "up")
    host.ip("link", "set", "vpn1", "up")
    for half in ("0.0.0.0/1", "128.0.0.0/1"):
        host.ip("route", "add", half, "dev", "vpn0")
    host.ip("route", "add", "default", "dev", "vpn0", "table", "51820")
    host.ip("rule", "add", "not", "fwmark", "51820", "table", "51820")
    host.ip("rule", "add", "table", "main", "suppress_prefixlength", "0")  # local networks stay local, as wg-quick does
    before = snapshot(host)
    with TundProcess(host) as tund, serving(host, tund, 22):
        connect(host, SERVERS["web1"], 22).close()
    wait_until(lambda: snapshot(host) == before)


def test_the_device_is_taken(host: Host, tund: TundProcess) -> None:
    with TundProcess(host, ready=False) as second:
        assert "hyperion0 is in use" in second.expect(Fault).reason


def test_somebody_deletes_the_device(host: Host, tund: TundProcess) -> None:
    host.ip("link", "delete", DEVICE)
    assert "gone" in tund.expect(Fault).reason
    assert tund.ended() == 70


def test_thousands_of_connections_leave_no_trace(host: Host, tund: TundProcess) -> None:
    many(host, tund, 600)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_ten_thousand_connections_leave_no_trace(host: Host, tund: TundProcess) -> None:
    many(host, tund, 10_000)


def many(host: Host, tund: TundProcess, count: int) -> None:
    listeners = {name: listen(host, OWN) for name in SERVERS}
    for name, listener in listeners.items():
        tund.send(target(name, (80, listener.getsockname()[1])))
        threading.Thread(target=answer_all, args=(listener,), daemon=True).start()
    for name in SERVERS:
        ask(host, SERVERS[name], 20)
    before = int(status(tund.pid)["VmRSS"].split()[0])
    failed: list[BaseException] = []

    def work(part: int) -> None:
        try:
            ask(host, list(SERVERS.values())[part % 3], count // 6)
        except BaseException as error:  # noqa: BLE001 - told below
            failed.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for listener in listeners.values():
        listener.close()
    assert not failed
    assert int(status(tund.pid)["VmRSS"].split()[0]) - before < 256


def answer_all(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(sock.recv(100)[::-1])


def ask(host: Host, address: str, count: int) -> None:
    def inside() -> None:
        for _ in range(count):
            with socket.create_connection((address, 80), timeout=10) as sock:
                sock.sendall(b"abc")
                assert sock.recv(100) == b"cba"

    host.call(inside)


def test_it_reports_and_is_idle(host: Host, tund: TundProcess) -> None:
    report = tund.expect(ReflectorCounts)
    assert report.counts["reflected"] == 0
    assert report.counts["write-failed"] == 0


def test_a_tund_that_stood_still_is_no_firewall(host: Host, tund: TundProcess) -> None:
    with serving(host, tund, 443) as listener:
        os.kill(tund.pid, signal.SIGSTOP)
        threading.Timer(1.3, os.kill, (tund.pid, signal.SIGCONT)).start()
        with connect(host, SERVERS["web1"], 443):
            served, _ = listener.accept()
            served.close()
        # The SYN that was sent again meanwhile, too.
        assert tund.counts(lambda counts: counts["reflected"] >= 2)["unanswered"] == 0


@pytest.mark.needs("nft")
def test_a_firewall_of_this_machine_has_to_let_the_device_in(host: Host, tund: TundProcess) -> None:
    """One that lets in what belongs to connections, and loopback: what comes back from the device is neither."""
    rules = "type filter hook input priority 0; policy drop; ct state established,related accept; iifname lo accept;"
    host.run("nft", f"add table inet usual; add chain inet usual in {{ {rules} }}")
    with serving(host, tund, 443) as listener:
        with pytest.raises(TimeoutError):
            # A SYN is sent again after a second, and again after two or three.
            connect(host, SERVERS["web1"], 443, timeout=3.5)
        tund.counts(lambda counts: counts["unanswered"])
        host.run("nft", f'add rule inet usual in iifname "{DEVICE}" accept')
        with connect(host, SERVERS["web1"], 443) as sock:
            served, _ = listener.accept()
            with served:
                sock.sendall(b"hello")
                assert served.recv(5) == b"hello"
