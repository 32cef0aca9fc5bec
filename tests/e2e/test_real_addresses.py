"""Transparent mode under the server's real address, which a gate keeps shut: the tunnel's own packets go by the wire,
everything else by the device."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tunnel import program
from tests.helpers.gated import ECHO_PORT, Gated, gated
from tests.helpers.knockd_process import PORT
from tests.helpers.netns import Host, topology
from tests.helpers.program import Program
from tests.helpers.transparent import is_settled, snapshot, wait_for
from tests.helpers.tund_process import connect
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft")]

DEVICE = "hyperion0"

#: Clients of the test that runs, which end with it also if it fails.
_started: list[Program] = []


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gated]:
    with topology() as network, gated(network, tmp_path) as made:
        # What is compared at the end holds still from here on.
        until(lambda: is_settled(network.admin))
        try:
            yield made
        finally:
            while _started:
                _started.pop().end()


def start(gate: Gated, address: str, *options: str) -> Program:
    """``hyperion-client tun`` on the admin's machine."""
    file = gate.client_file(address)
    command = [*program("client"), "tun", "--config", str(file), "--log-format", "json", *options]
    running = Program(
        "hyperion-client",
        gate.network.admin.command(*command),
        environment={"HYPERION_HOME": str(gate.directory / "home")},
    )
    _started.append(running)
    return running


def routes(gate: Gated, address: str, *options: str) -> str:
    """What ``print-routes`` prints."""
    done = subprocess.run(
        [*program("client"), "print-routes", "--config", str(gate.client_file(address)), *options],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


def up(running: Program) -> None:
    """Its worker's listeners follow; a connection waits for them, though no longer than 0.8 s."""
    running.wait_events("service-started")
    running.wait_events("tunnel-up", 2)


def echo(host: Host, address: str) -> None:
    until(lambda: answers(host, address))
    with connect(host, address, ECHO_PORT) as sock:
        assert sock.getsockname()[0] in {"10.99.0.1", "fd68:7970:6572::a63:1"}
        sock.sendall(b"hello")
        assert sock.recv(100) == b"hello"


def answers(host: Host, address: str) -> bool:
    """A worker logs that its tunnel stands, and then tells who passes it on."""
    try:
        connect(host, address, ECHO_PORT).close()
    except OSError:
        return False
    return True


def own_packets(host: Host, counter: str = "own") -> int:
    """Packets to the tunnel's port, of TCP or UDP, that went into the device. ``dials``: knocks and first SYNs only."""
    listing = host.run("nft", "list", "counter", "inet", "watch", counter)
    return int(listing.split("packets")[1].split()[0])


def watch(host: Host) -> None:
    """Counts them, from before the device is there."""
    host.run(
        "nft",
        "-f",
        "-",
        input=f"""table inet watch {{
  counter own {{ }}
  counter dials {{ }}
  chain out {{
    type filter hook output priority 0; oifname != "{DEVICE}" return
    th dport {PORT} counter name own
    tcp dport {PORT} tcp flags & (syn | ack) == syn counter name dials
    udp dport {PORT} counter name dials
  }}
}}""",
    )


@pytest.mark.parametrize("version", [4, 6])
def test_it_sets_what_it_needs_and_takes_it_away(gate: Gated, version: int) -> None:
    admin, server = gate.network.admin, gate.network.server
    address = server.ipv4 if version == 4 else server.ipv6
    watch(admin)
    before = snapshot(admin)
    running = start(gate, address, "--apply")
    up(running)
    echo(admin, address)
    assert own_packets(admin) == 0
    # The table and the rule are what keeps it so: without a mark, the tunnel's port is behind the device, too.
    with pytest.raises(ConnectionRefusedError):
        connect(admin, address, PORT)
    assert own_packets(admin) == 1
    with pytest.raises(ConnectionRefusedError):
        connect(admin, address, 1)
    assert running.stop() == 0
    wait_for(admin, before)


@pytest.mark.parametrize("end", ["killed", "interrupted"])
def test_nothing_is_left_however_it_ends(gate: Gated, end: str) -> None:
    admin, address = gate.network.admin, gate.network.server.ipv4
    before = snapshot(admin)
    running = start(gate, address, "--apply")
    up(running)
    running.send(signal.SIGKILL if end == "killed" else signal.SIGINT)
    wait_for(admin, before)
    running.end()


def test_the_rules_keeper_is_killed_and_another_takes_over(gate: Gated) -> None:
    admin, address = gate.network.admin, gate.network.server.ipv4
    before = snapshot(admin)
    running = start(gate, address, "--apply")
    up(running)
    started = running.wait_events("worker-started")
    pid = next(each["process"]["pid"] for each in started if each["hyperion"]["worker"]["id"] == "rules")
    subprocess.run(["kill", "-9", str(pid)], check=True)
    until(lambda: len([e for e in running.events("worker-started") if e["hyperion"]["worker"]["id"] == "rules"]) == 2)
    assert admin.ip("rule").count("lookup 26745") == 1
    echo(admin, address)
    assert running.stop() == 0
    wait_for(admin, before)


def test_the_operators_own_script(gate: Gated) -> None:
    admin, address = gate.network.admin, gate.network.server.ipv4
    before = snapshot(admin)
    running = start(gate, address)
    up(running)
    script = routes(gate, address)
    for _ in range(2):  # run again, it leaves one copy
        admin.run("sh", input=script)
    assert admin.ip("rule").count("lookup 26745") == 1
    echo(admin, address)
    admin.run("sh", input=routes(gate, address, "--down"))
    with pytest.raises(TimeoutError):  # by the wire, where the gate is silent
        connect(admin, address, ECHO_PORT, timeout=1)
    assert running.stop() == 0
    wait_for(admin, before)
    admin.run("sh", input=routes(gate, address, "--down"))
    wait_for(admin, before)


def command(gate: Gated, *words: str, user: str | None = None) -> "subprocess.CompletedProcess[str]":
    """A command of a client that knows nothing of the one that runs, with ``hello`` as its input."""
    other = ["setpriv", f"--reuid={user}", "--clear-groups", "--bounding-set=-all", "--"] if user is not None else []
    return subprocess.run(
        gate.network.admin.command(*other, *program("client"), *words),
        env={**os.environ, "HYPERION_HOME": str(gate.directory / "another")},
        input="hello",
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.needs("setpriv")
def test_tunnels_of_their_own_go_around_the_device(gate: Gated) -> None:
    """``doctor``, and ``nc`` and ``run`` that do not use the client that runs."""
    admin, address = gate.network.admin, gate.network.server.ipv4
    watch(admin)
    file = str(gate.client_file(address))
    running = start(gate, address, "--apply")
    up(running)
    echo(admin, address)
    done = command(gate, "doctor", "-c", file)
    assert done.returncode == 0, done.stdout + done.stderr
    done = command(gate, "nc", "-c", file, "web1", str(ECHO_PORT))
    assert (done.returncode, done.stdout) == (0, "hello"), done.stderr
    second = Program(
        "hyperion-client",
        admin.command(*program("client"), "run", "-c", file, "-L", f"web1:{ECHO_PORT}", "--log-format", "json"),
        environment={"HYPERION_HOME": str(gate.directory / "another")},
    )
    _started.append(second)
    second.wait_events("tunnel-up", 2)
    assert second.stop() == 0
    assert own_packets(admin) == 0
    for words in (["doctor"], ["nc", "web1", str(ECHO_PORT)], ["run", "-L", f"web1:{ECHO_PORT}"]):
        done = command(gate, words[0], "-c", file, *words[1:], user="0")  # root without any right
        assert done.returncode == 77, done.stdout + done.stderr
        assert "error: hyperion-client tun runs here, and the address of web1 leads into it" in done.stderr
    assert running.stop() == 0
    for words in (["doctor"], ["nc", "web1", str(ECHO_PORT)]):
        assert command(gate, words[0], "-c", file, *words[1:], user="0").returncode == 0
    admin.run("nft", "delete", "table", "inet", "watch")


def beside(gate: Gated) -> Program:
    """A client that knows nothing of ``tun``, with a forward."""
    running = Program(
        "hyperion-client",
        gate.network.admin.command(
            *(*program("client"), "run", "-c", str(gate.client_file(gate.network.server.ipv4))),
            *("-L", f"0:web1:{ECHO_PORT}", "--log-format", "json", "--log-level", "debug"),
        ),
        environment={"HYPERION_HOME": str(gate.directory / "another")},
    )
    _started.append(running)
    return running


def test_a_tunnel_that_is_there_already_is_not_cut(gate: Gated) -> None:
    admin, address = gate.network.admin, gate.network.server.ipv4
    before = snapshot(admin)
    first = beside(gate)
    first.wait_events("tunnel-up", 2)
    local = int(first.wait_out(lambda line: line.startswith("forward "))[0].split()[1].rpartition(":")[2])
    pid = first.wait_events("worker-started")[0]["process"]["pid"]
    with connect(admin, "127.0.0.1", local) as sock:
        for options in (["--apply"], []):
            refused = start(gate, address, *options)
            assert refused.wait() == 77
            said = refused.wait_err("error: ")
            assert f"a tunnel to web1 is open on this machine (pid {pid}, hyp-web1): its packets would go into" in said
            assert "hint: end it first: hyperion-client down" in "\n".join(refused.err)
        assert snapshot(admin) == before
        sock.sendall(b"whole")
        assert sock.recv(100) == b"whole"
    assert first.stop() == 0
    running = start(gate, address, "--apply")
    up(running)
    echo(admin, address)
    assert running.stop() == 0


def caught(running: Program) -> int:
    """How often it found its way into the device, with no connection left."""
    ends = running.events("tunnel-down")
    return sum(each["event"]["reason"] == "led-into-device" and not each["hyperion"]["pool"]["up"] for each in ends)


def test_a_client_whose_way_is_led_into_the_device_says_so_and_comes_back(gate: Gated) -> None:
    """Routes that came after it: it sends nothing into the device, and needs no restart when they have gone."""
    admin, address = gate.network.admin, gate.network.server.ipv4
    watch(admin)
    running = start(gate, address)
    up(running)
    first = beside(gate)
    first.wait_events("tunnel-up", 2)
    admin.run("sh", input=routes(gate, address))
    first.wait_for(lambda: caught(first) >= 3)
    echo(admin, address)
    assert own_packets(admin) > 0  # the connections that it had end there
    assert own_packets(admin, "dials") == 0
    admin.run("sh", input=routes(gate, address, "--down"))
    first.wait_events("tunnel-up", 4)
    assert first.stop() == 0
    assert running.stop() == 0
    admin.run("nft", "delete", "table", "inet", "watch")


def test_a_second_one_is_refused_and_harms_nobody(gate: Gated) -> None:
    """Not even the rule, which a keeper of its own would have taken for one that was left behind."""
    admin, address = gate.network.admin, gate.network.server.ipv4
    running = start(gate, address, "--apply")
    up(running)
    before = snapshot(admin)
    for options in (["--apply"], []):
        second = start(gate, address, *options)
        assert second.wait(10) == 73
        assert "hyperion0 is in use: another hyperion-client is in transparent mode here" in second.wait_err("error: ")
        assert second.records == []
    assert snapshot(admin) == before
    echo(admin, address)
    assert running.stop() == 0


def test_another_machine_does_not_reach_the_listeners(gate: Gated) -> None:
    """Neither the device's address nor a worker's port there is anything that a wire leads to."""
    admin, attacker = gate.network.admin, gate.network.attacker
    running = start(gate, gate.network.server.ipv4, "--apply")
    up(running)
    listing = admin.run("ss", "-Hltn") if admin.run("sh", "-c", "command -v ss", check=False) else ""
    ports = [int(line.split()[3].rpartition(":")[2]) for line in listing.splitlines() if "10.99.0.1" in line]
    gate.network.router.ip("route", "add", "10.99.0.0/24", "via", admin.ipv4)
    for port in ports or [ECHO_PORT]:
        with pytest.raises((ConnectionRefusedError, TimeoutError)):
            connect(attacker, "10.99.0.1", port, timeout=1)
    assert running.stop() == 0
