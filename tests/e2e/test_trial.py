"""A trial of the firewall that nobody proves, however it is broken off: the old rules are back, byte for byte."""

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.firewall.snapshot import comparable
from tests.helpers.gate import TUNNEL_PORT, Inside, connect, gets_in, service
from tests.helpers.netns import Topology, topology
from tests.helpers.trials import SERVER, Applying, trial_pids
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft"), pytest.mark.timeout(120)]

PORT = ("--tunnel-port", str(TUNNEL_PORT), "--yes")
LONG = (*PORT, "--confirm-within", "60")
OTHERS = """table ip nat {
	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		tcp dport 80 redirect to :8080
	}
}
table inet mine {
	set blocked {
		type ipv4_addr
		flags interval
		elements = { 192.0.2.0/24, 198.51.100.7 comment "a, b }" }
	}
	chain forward {
		type filter hook forward priority filter + 10; policy accept;
		ip saddr @blocked drop comment "a, b { c }"
	}
}
"""
#: As the original prints it, and somebody's own rule in it.
ORIGINAL = """table inet hyperion {
	set knock_allow {
		type ipv4_addr
		flags timeout
	}
	chain input {
		type filter hook input priority filter; policy drop;
		ct state established,related accept
		iif "lo" accept
		ip saddr @knock_allow tcp dport 8443 accept
		tcp dport 22 accept comment "mine"
	}
}
"""
#: Ours comes before another in the kernel's list, and is to stay there.
BEFORE = {
    "nothing": "",
    "others": OTHERS,
    "the original's": ORIGINAL + OTHERS,
    "ours, another port": ruleset_text(Ruleset(9_000, set="knock_allow", keep_ports=(22,))) + OTHERS,
    "ours, another set": ruleset_text(Ruleset(TUNNEL_PORT, set="other")) + OTHERS,
}


@pytest.fixture(scope="module")
def network() -> Iterator[Topology]:
    with topology() as network, service(network.server), service(network.server, 22):
        yield network


def listing(network: Topology) -> str:
    return network.server.run("nft", "list", "ruleset")


def is_in_force(network: Topology) -> bool:
    return not gets_in(network.attacker, network.server.ipv4, 22)


@pytest.mark.parametrize("what", BEFORE)
def test_nobody_comes(network: Topology, nft: Inside, tmp_path: Path, what: str) -> None:
    nft.load(BEFORE[what])
    before = listing(network)
    applying = Applying(network.server, tmp_path, *PORT, "--confirm-within", "1").loaded()
    assert f"tcp dport {TUNNEL_PORT} ct state new" in listing(network)
    assert is_in_force(network)
    assert applying.ended() == 75
    assert listing(network) == before
    assert "hyperion-server: error: rolled back: nobody got in within 1 s\n" in applying.err
    assert not (applying.directory / "trial.json").exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_command_is_killed(network: Topology, nft: Inside, tmp_path: Path, number: signal.Signals) -> None:
    nft.load(BEFORE["ours, another port"])
    before = listing(network)
    applying = Applying(network.server, tmp_path, *LONG).loaded()
    applying.send(number)
    if number is signal.SIGINT:
        applying.send(number)  # impatience
        assert applying.ended() == 130
        assert "rolled back: the table is as it was" in applying.err
        assert listing(network) == before
    else:
        assert applying.ended() == -number
    until(lambda: listing(network) == before, what="it was not rolled back")


def has_begun(applying: Applying) -> bool:
    """Or has ended before."""
    return bool(trial_pids(applying.host)) or applying.child.poll() is not None


@pytest.mark.parametrize("victim", ["command", "trial"])
@pytest.mark.parametrize("rounds", [4, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.timeout(600)
def test_killed_at_any_moment(network: Topology, nft: Inside, tmp_path: Path, victim: str, rounds: int) -> None:
    """From before there is a trial to after its rules are in force."""
    nft.load(BEFORE["the original's"])
    before = listing(network)
    seen_in_force = 0
    for number in range(rounds):
        applying = Applying(network.server, tmp_path, *LONG)
        if victim == "trial":
            until(partial(has_begun, applying))
            assert applying.child.poll() is None, (applying.ended(), applying.err)
        if number < rounds - 1:
            time.sleep(1.0 * number / rounds)
        else:  # however slow this machine is
            applying.loaded()
        seen_in_force += listing(network) != before
        if victim == "command":
            applying.send(signal.SIGKILL)
            applying.ended()
        else:
            (pid,) = trial_pids(network.server)
            os.kill(pid, signal.SIGKILL)
            assert applying.ended() in (70, 75)  # 70: it had not changed anything yet
        until(lambda: not trial_pids(network.server))
        assert listing(network) == before
    assert seen_in_force


def test_the_terminal_is_gone(network: Topology, nft: Inside, tmp_path: Path) -> None:
    before = listing(network)
    pid, terminal = pty.fork()
    if pid == 0:
        command = network.server.command(SERVER, "apply-firewall", *LONG)
        os.execve(command[0], command, os.environ | {"HYPERION_HOME": str(tmp_path)})
    screen = b""
    while b"s left" not in screen:
        screen += os.read(terminal, 1_000)
    assert is_in_force(network)
    assert trial_pids(network.server)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGHUP
    until(lambda: listing(network) == before, what="it was not rolled back")


def test_the_trial_is_killed_and_the_command_takes_its_place(network: Topology, nft: Inside, tmp_path: Path) -> None:
    nft.load(BEFORE["the original's"])
    before = listing(network)
    applying = Applying(network.server, tmp_path, *LONG).loaded()
    (pid,) = trial_pids(network.server)
    os.kill(pid, signal.SIGKILL)
    assert applying.ended() == 75
    assert "rolled back: the trial was killed" in applying.err
    assert listing(network) == before


def test_the_trial_is_told_to_end(network: Topology, nft: Inside, tmp_path: Path) -> None:
    before = listing(network)
    applying = Applying(network.server, tmp_path, *LONG).loaded()
    (pid,) = trial_pids(network.server)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    assert applying.ended() == 75
    assert listing(network) == before


@pytest.mark.parametrize("command", [("remove-firewall",), ("apply-firewall", *PORT, "--confirm-within", "1")])
def test_both_are_killed_and_the_next_command_rolls_back(
    network: Topology, nft: Inside, tmp_path: Path, command: tuple[str, ...]
) -> None:
    nft.load(OTHERS)
    before = listing(network)
    applying = Applying(network.server, tmp_path, *LONG).loaded()
    (pid,) = trial_pids(network.server)
    applying.send(signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    applying.send(signal.SIGKILL)
    applying.ended()
    assert is_in_force(network)  # nobody is left who would undo it; a reboot would
    done = subprocess.run(
        network.server.command(SERVER, *command),
        env=os.environ | {"HYPERION_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "an earlier trial was killed; what it had loaded was taken back first" in done.stderr
    assert done.returncode == (0 if command[0] == "remove-firewall" else 75)
    assert listing(network) == before


def test_live_grants_go_on_through_trial_and_roll_back(network: Topology, nft: Inside, tmp_path: Path) -> None:
    rules = Ruleset(TUNNEL_PORT, set="knock_allow")
    nft.load(ruleset_text(rules))
    admin, server = network.admin, network.server
    nft.load(f"add element inet hyperion knock_allow {{ {admin.ipv4} timeout 120s }}")
    nft.load("add element inet hyperion knock_allow { 192.0.2.9 timeout 1s }")
    before = listing(network)
    with connect(admin, server.ipv4) as client:
        applying = Applying(server, tmp_path, *PORT, "--keep-port", "22", "--confirm-within", "2").loaded()
        assert gets_in(admin, server.ipv4)
        assert applying.ended() == 75
        client.sendall(b"still here")
        assert client.recv(100) == b"still here"
    after = listing(network)
    assert comparable(after, living=False) == comparable(before, living=False)
    assert "192.0.2.9" not in after  # its time ran out meanwhile
    # Less than it had, by what has passed.
    assert re.search(rf"{re.escape(admin.ipv4)} timeout 2m expires 1m5\ds", after), after
    assert gets_in(admin, server.ipv4)


def test_what_others_change_meanwhile_is_theirs(network: Topology, nft: Inside, tmp_path: Path) -> None:
    nft.load(BEFORE["the original's"])
    applying = Applying(network.server, tmp_path, *PORT, "--confirm-within", "2").loaded()
    nft.load("add element inet mine blocked { 203.0.113.9 }\ndelete table ip nat\ntable ip6 new {\n}")
    meanwhile = listing(network)
    assert applying.ended() == 75
    after = listing(network)
    assert "note: other tables were changed meanwhile, not by us; they are left as they are" in applying.err
    ours, theirs = after.partition("table inet mine")[::2]
    assert theirs == meanwhile.partition("table inet mine")[2]
    assert ours.split() == ORIGINAL.split()


def test_one_trial_at_a_time(network: Topology, nft: Inside, tmp_path: Path) -> None:
    applying = Applying(network.server, tmp_path, *LONG).loaded()
    second = Applying(network.server, tmp_path, *LONG)
    assert second.ended() == 75
    assert "another trial of the firewall is running" in second.err
    assert is_in_force(network)
    applying.send(signal.SIGTERM)
    applying.ended()


def test_a_table_of_somebody_else_is_not_touched(network: Topology, nft: Inside, tmp_path: Path) -> None:
    nft.load("table inet hyperion {\nchain theirs {\ntcp dport 80 accept\n}\n}")
    before = listing(network)
    applying = Applying(network.server, tmp_path, *PORT)
    assert applying.ended() == 78
    assert "table inet hyperion belongs to somebody else" in applying.err
    assert listing(network) == before
    assert not trial_pids(network.server)


def test_json_and_dry_run(network: Topology, nft: Inside, tmp_path: Path) -> None:
    rehearsal = Applying(network.server, tmp_path, *PORT, "--dry-run")
    assert rehearsal.ended() == 0
    assert rehearsal.out == ruleset_text(Ruleset(TUNNEL_PORT, set="knock_allow"))
    assert listing(network) == ""
    applying = Applying(network.server, tmp_path, *PORT, "--confirm-within", "1", "--json", "--keep-port", "22")
    assert applying.ended() == 75
    assert applying.document() == {
        "schema": "hyperion.apply-firewall/1",
        "outcome": "rolled-back",
        "by": None,
        "source": None,
        "reason": "no-proof",
        "others_changed": False,
        "tunnel_port": TUNNEL_PORT,
        "table": "hyperion",
        "set": "knock_allow",
        "keep_ports": [22],
        "one_shot": False,
    }


@pytest.mark.needs("unshare")
@pytest.mark.parametrize(
    "command", [("apply-firewall", *PORT), ("remove-firewall",), ("print-firewall", "--check", *PORT[:2])]
)
def test_without_nft(network: Topology, nft: Inside, tmp_path: Path, command: tuple[str, ...]) -> None:
    """Hidden in a mount namespace of its own."""
    hide = "for nft in /usr/sbin/nft /sbin/nft; do mount --bind /dev/null $nft; done"
    done = subprocess.run(
        network.server.command("unshare", "-m", "sh", "-c", f'{hide}; exec "$@"', "sh", SERVER, *command),
        env=os.environ | {"HYPERION_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr.splitlines() == [
        "hyperion-server: error: nftables is not installed",
        "hint: install nftables (Debian and Ubuntu: apt-get install nftables python3-nftables)",
    ]


@pytest.mark.needs("setpriv")
@pytest.mark.parametrize("command", [("apply-firewall", *PORT), ("remove-firewall",)])
def test_without_the_right(network: Topology, nft: Inside, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        network.server.command("setpriv", "--bounding-set=-all", "--inh-caps=-all", SERVER, *command),
        env=os.environ | {"HYPERION_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 77
    assert done.stderr.splitlines() == [
        "hyperion-server: error: no right to change the firewall",
        "hint: it takes root, or CAP_NET_ADMIN",
    ]
