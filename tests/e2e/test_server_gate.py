"""The real server with its own knockd: who has which rights, what a dead knockd costs, who is kept out meanwhile."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.tunnel import make_key
from hyperion.proto.operator import Done, HoldGuardRequest
from hyperion.running import ask
from tests.helpers.gate import connect, gets_in, service
from tests.helpers.gated import ECHO_PORT, PSK_TEXT, Transfer
from tests.helpers.knockd_process import PORT, SET, TABLE, elements, load_table, send, status
from tests.helpers.meddling import MEDDLING, Probe
from tests.helpers.netns import Topology
from tests.helpers.others import opened_way
from tests.helpers.special import Special
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft", "unshare"), pytest.mark.timeout(120)]

NET_ADMIN, NET_RAW = 1 << 12, 1 << 13
CAPABILITIES = ("CapPrm", "CapEff", "CapBnd", "CapAmb")
#: What the issue allows.
MAX_EXPOSURE_SECONDS = 0.2
MAX_AWAY_SECONDS = 2.0


@contextlib.contextmanager
def special(network: Topology, directory: Path, *, ready: bool = True, **options: object) -> Iterator[Special]:
    with service(network.server, ECHO_PORT), Special(network, directory, **options) as made:  # type: ignore[arg-type]
        if ready:
            made.wait_ready()
        yield made
    network.server.run("nft", "flush", "ruleset")


@pytest.fixture
def server(network: Topology, directory: Path) -> Iterator[Special]:
    with special(network, directory) as made:
        yield made


def hidden_nft() -> list[str]:
    """A prefix: nftables is not installed."""
    script = (
        "set -e; for f in /usr/sbin/nft /usr/bin/nft; do if [ -e $f ]; then mount --bind /dev/null $f; fi; done;"
        "d=/usr/lib/python3/dist-packages/nftables; if [ -d $d ]; then mount -t tmpfs none $d; fi;"
        'exec "$@"'
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]


def family(server: Special) -> dict[str, list[dict[str, str]]]:
    """What /proc says of each process, by its name."""
    found: dict[str, list[dict[str, str]]] = {}
    for each in server.server.family():
        facts = status(each.pid)
        name = "worker" if each.name.startswith("hyp-worker") else each.name
        found.setdefault(name, []).append(facts)
    return found


def sets(facts: dict[str, str]) -> list[int]:
    return [int(facts[name], 16) for name in CAPABILITIES]


@pytest.mark.parametrize("user", ["nobody", None])
def test_who_has_which_rights(network: Topology, directory: Path, user: str | None) -> None:
    options: Sequence[str] = () if user is None else ("--user", user)
    with special(network, directory, prefix=opened_way() if user else (), options=options) as server:
        found = family(server)
        assert {name: len(each) for name, each in found.items()} == {
            "hyperion-server": 1,
            "python": 2,  # the fork server and the resource tracker
            "hyp-knockd": 1,
            "worker": 2,
        }
        both = NET_ADMIN | NET_RAW
        assert sets(found["hyperion-server"][0]) == [both, 0, 0, 0]
        assert sets(found["hyp-knockd"][0]) == [NET_ADMIN, NET_ADMIN, 0, NET_ADMIN]
        for facts in (*found["python"], *found["worker"]):
            assert sets(facts) == [0, 0, 0, 0]
        uid = "65534" if user else "0"
        for facts in (each for several in found.values() for each in several):
            assert facts["NoNewPrivs"] == "1"
            assert facts["Uid"].split() == [uid] * 4
            assert facts["Gid"].split() == [uid] * 4
        for each in server.server.family():
            if each.name != "python":
                assert Path(f"/proc/{each.pid}/mem").stat().st_uid == 0, "not dumpable: root's"
            assert "scapy" not in Path(f"/proc/{each.pid}/maps").read_text()
        server.knock(network.admin, network.server.ipv4)
        until(lambda: gets_in(network.admin, network.server.ipv4))
        os.kill(server.knockd_pid(), signal.SIGKILL)
        server.server.wait_events("gate-open", 2)  # it has the right to start another one
        server.let_in(network.server.ipv4)


@pytest.mark.needs("setpriv")
def test_started_by_a_service_manager_it_ends_in_the_same_state(network: Topology, directory: Path) -> None:
    """As systemd does with User= and AmbientCapabilities= of the unit."""
    given = ",".join(f"+{name}" for name in ("net_admin", "net_raw", "setpcap"))
    rights = f"--inh-caps={given} --ambient-caps={given} --bounding-set=-all,{given} --no-new-privs"
    user = "--reuid=65534 --regid=65534 --clear-groups"
    script = f'chown -R 65534:65534 {directory}; exec setpriv {user} {rights} "$@"'
    with special(network, directory, prefix=[*opened_way(), "sh", "-c", script, "sh"]) as server:
        found = family(server)
        assert sets(found["hyperion-server"][0]) == [NET_ADMIN | NET_RAW, 0, 0, 0]
        assert sets(found["hyp-knockd"][0]) == [NET_ADMIN, NET_ADMIN, 0, NET_ADMIN]
        for facts in (*found["python"], *found["worker"]):
            assert sets(facts) == [0, 0, 0, 0]
        for facts in (each for several in found.values() for each in several):
            assert (facts["NoNewPrivs"], facts["Uid"].split()) == ("1", ["65534"] * 4)
        os.kill(server.knockd_pid(), signal.SIGKILL)
        server.server.wait_events("gate-open", 2)
        server.let_in(network.server.ipv4)


def test_up_as_a_service_user(network: Topology, directory: Path) -> None:
    """The daemon's files are that user's, it can read its configuration again, and it ends tidily."""
    public = make_key("client", directory / "admin.key")
    make_key("server", directory / "server.key")
    lines = [
        f'listen = "[::]:{PORT}"',
        f'[key]\nsource = "value"\nvalue = "{PSK_TEXT}"',
        f'[identity]\nstatic_key_file = "{directory}/server.key"\nadmin_pubkeys = ["{public}"]',
        f'[knock]\nenabled = true\n[firewall]\ntable = "{TABLE}"\nset = "{SET}"\n',
    ]
    (directory / "server.toml").write_text("\n".join(lines))
    os.chown(directory / "server.key", 65534, 65534)
    load_table(network.server)
    script = """set -e
export HYPERION_HOME="$1"; server="$2"
"$server" up --user nobody --workers 1 > /dev/null
cat /proc/$(cat "$1/run/server/pid")/status | grep -E 'Uid|CapPrm|CapEff'
stat -c '%U %a %n' "$1/hyperion-server.log" "$1/run/server" "$1/run/server/knocks"
sed -i 's/enabled = true/enabled = true\\nwindow_secs = 40/' "$1/server.toml"
"$server" reload
"$server" down
"""
    server = str(Path(sys.executable).with_name("hyperion-server"))
    out = network.server.run(*opened_way(), "sh", "-c", script, "sh", str(directory), server)
    network.server.run("nft", "flush", "ruleset")
    words = [line.split() for line in out.splitlines()]
    assert words[:3] == [
        ["Uid:", *["65534"] * 4],
        ["CapPrm:", f"{NET_ADMIN | NET_RAW:016x}"],
        ["CapEff:", f"{0:016x}"],
    ]
    assert [(user, mode) for user, mode, _ in words[3:6]] == [("nobody", "600"), ("nobody", "700"), ("nobody", "600")]
    assert "reloaded" in out
    assert "down (stopped" in out
    log = (directory / "hyperion-server.log").read_text()
    assert "knock.window_secs" in log
    assert '"gate-open"' in log


def kill_again_and_again(network: Topology, server: Special, times: int) -> None:
    away = []
    _, port = server.client(network.admin, network.server.ipv4)
    with Transfer(network.admin, port):
        for number in range(times):
            server.shut()
            server.knock(network.attacker, network.server.ipv4)
            until(lambda: gets_in(network.attacker, network.server.ipv4))
            killed = time.monotonic()
            os.kill(server.knockd_pid(), signal.SIGKILL)
            server.server.wait_events("gate-shut", number + 1)
            # It has a grant in the kernel, and yet:
            assert not gets_in(network.attacker, network.server.ipv4) or server.server.events("gate-open")[number + 1 :]
            server.let_in(network.server.ipv6)
            away.append(time.monotonic() - killed)
    away.sort()
    print(f"{times} kills: knocks accepted again after p50 {away[len(away) // 2]:.2f} s, worst {away[-1]:.2f} s")
    assert away[-1] <= MAX_AWAY_SECONDS


@pytest.mark.alone
def test_a_killed_knockd_costs_no_byte_and_opens_nothing(network: Topology, server: Special) -> None:
    kill_again_and_again(network, server, 5)


@pytest.mark.long
@pytest.mark.timeout(3_000)
def test_a_knockd_killed_two_hundred_times(network: Topology, server: Special) -> None:
    kill_again_and_again(network, server, 200)


@pytest.mark.alone
@pytest.mark.parametrize("what", MEDDLING)
def test_the_table_is_back_at_once_with_its_grants(network: Topology, server: Special, what: str) -> None:
    host = network.server
    _, port = server.client(network.admin, host.ipv4)
    before = elements(host)
    assert network.admin.ipv4 in before
    with Transfer(network.admin, port), Probe(network.attacker, host) as probe:
        time.sleep(0.1)
        assert not probe.answered_at
        meddled_at = time.monotonic()
        host.run("nft", "-f", "-", input=MEDDLING[what].replace("hyperion", TABLE))
        server.server.wait_events("firewall-restore")
        time.sleep(0.3)
    exposure = max(probe.answered_at, default=meddled_at) - meddled_at
    print(f"exposed for {exposure * 1_000:.1f} ms")
    assert exposure <= MAX_EXPOSURE_SECONDS
    after = elements(host)
    assert set(after) == set(before)
    assert after[network.admin.ipv4]["expires"] <= before[network.admin.ipv4]["expires"], (
        "what was left, not a new life"
    )
    assert gets_in(network.admin, host.ipv4)
    assert not gets_in(network.attacker, host.ipv4)


def churn(network: Topology, server: Special, times: int) -> None:
    took = []
    for _ in range(times):
        network.cut(network.server)
        network.wire(network.server)
        server.shut()
        began = time.monotonic()
        until(
            lambda: (
                server.knock(network.admin, network.server.ipv4) != b"" and gets_in(network.admin, network.server.ipv4)
            ),
            10,
        )
        took.append(time.monotonic() - began)
    took.sort()
    print(f"{times} interfaces: knocks accepted after p50 {took[times // 2]:.2f} s, worst {took[-1]:.2f} s")
    assert took[-1] <= MAX_AWAY_SECONDS
    assert not server.server.events("worker-crashed")


@pytest.mark.alone
def test_interfaces_may_come_and_go(network: Topology, server: Special) -> None:
    churn(network, server, 10)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_hundred_interfaces(network: Topology, server: Special) -> None:
    churn(network, server, 100)


def test_without_its_table_the_port_answers_nobody_whatever_the_firewall_lets_in(
    network: Topology, directory: Path
) -> None:
    """Nothing but the filter on the listening sockets keeps them out: no table is loaded at all."""
    host = network.server
    with special(network, directory, ready=False) as server:
        host.run("nft", "flush", "ruleset")
        server.server.wait_events("service-started")
        until(lambda: str(server.tell_status()["reason"]).startswith("the gate is shut"), 10)
        # Another port of that host answers, with a refusal; ours does not.
        with pytest.raises(ConnectionRefusedError):
            connect(network.attacker, host.ipv4, 7)
        assert not gets_in(network.attacker, host.ipv4)
        assert not gets_in(network.attacker, host.ipv6)
        load_table(host)
        server.server.wait_events("gate-open")
        server.let_in(host.ipv4)


def test_a_table_that_goes_while_the_guard_is_held_shuts_the_gate(network: Topology, server: Special) -> None:
    """Nobody puts it back: that is what the operator asked for. What he puts there opens the gate at once."""
    host = network.server
    (desk,) = server.directory.rglob("control.sock")
    assert ask(desk.parent, HoldGuardRequest(600.0)) == Done()
    host.run("nft", "flush", "ruleset")
    server.server.wait_events("gate-shut", 1)
    assert server.tell_status()["gate"]["reason"] == "table: table-missing"
    assert not gets_in(network.attacker, host.ipv4)
    load_table(host)
    server.server.wait_events("gate-open", 2)
    server.let_in(host.ipv4)
    # He exchanges it as a trial does: in one transaction.
    load_table(host)
    server.let_in(host.ipv6)
    assert len(server.server.events("gate-shut")) == 1


def test_without_nftables_it_says_what_to_install_and_goes_on_hearing(network: Topology, directory: Path) -> None:
    with special(network, directory, prefix=hidden_nft(), ready=False) as server:
        server.server.wait_events("service-started")
        (first, *_) = server.server.wait_events("gate-shut")
        assert "nft-missing" in first["error"]["message"]
        degraded = server.server.wait_events("firewall-degrade")[0]
        assert degraded["event"]["reason"] == "nft-missing"
        server.knock(network.admin, network.server.ipv4)
        server.server.wait_events("knock-accepted")
        assert not gets_in(network.admin, network.server.ipv4)
        told = server.tell_status()
        assert told["state"] == "degraded"


def test_status_tells_of_knocks_and_grants(network: Topology, directory: Path) -> None:
    with special(network, directory, ttl=600) as server:  # a busy machine takes its time
        told_of_knocks_and_grants(network, server)


def told_of_knocks_and_grants(network: Topology, server: Special) -> None:
    host = network.server
    server.knock(network.admin, host.ipv4)
    server.knock(network.admin, host.ipv4, offset=-3_600)
    until(lambda: gets_in(network.admin, host.ipv4), 20)

    def told() -> bool:
        gate = server.tell_status()["gate"]
        return (gate["state"], gate["verdicts"]) == ("ok", {"accepted": 1, "stale": 1})

    until(told, 20)
    (grant,) = server.tell_status()["grants"]
    assert grant["source"] == network.admin.ipv4
    assert 0 < grant["remaining_s"] <= 600
    os.kill(server.knockd_pid(), signal.SIGKILL)
    server.server.wait_events("gate-open", 2)
    until(lambda: [each["source"] for each in server.tell_status()["grants"]] == [network.admin.ipv4], 20)


def test_a_reload_starts_knockd_anew_and_no_tunnel_notices(network: Topology, server: Special) -> None:
    config = server.directory / "server.toml"
    _, port = server.client(network.admin, network.server.ipv4)
    with Transfer(network.admin, port):
        first = server.knockd_pid()
        config.write_text(config.read_text().replace("ttl_secs = 20", "ttl_secs = 600"))
        server.server.send(signal.SIGHUP)
        reloaded = server.server.wait_events("HYP5001N")[0]
        assert reloaded["hyperion"]["config"]["changed"] == ["firewall.ttl_secs"]
        server.server.wait_events("gate-open", 2)
        assert server.knockd_pid() != first
        server.let_in(network.server.ipv4)
        assert elements(network.server)[network.attacker.ipv4]["timeout"] == 600
    assert not server.server.events("worker-crashed")


def test_a_one_shot_grant_lets_one_connection_in(network: Topology, directory: Path) -> None:
    with special(network, directory, one_shot=True) as server:
        host = network.server
        for number in range(2):
            server.knock(network.admin, host.ipv4)
            server.server.wait_events("HYP1101I", number + 1)
            assert gets_in(network.admin, host.ipv4)
            assert not gets_in(network.admin, host.ipv4)


def test_the_gate_closes_behind_the_pool(network: Topology, directory: Path) -> None:
    with special(network, directory, ttl=600, more=["close_behind = true"]) as server:
        host = network.server
        running, port = server.client(network.admin, host.ipv4)
        with Transfer(network.admin, port):
            assert elements(host)
            until(lambda: not elements(host), 10)
            assert not gets_in(network.admin, host.ipv4)
        assert running.running
        expired = server.server.wait_events("firewall-expire")
        assert [each["event"]["reason"] for each in expired] == ["revoked"]


def test_a_memory_of_knocks_that_was_deleted_shuts_the_gate_for_a_while(network: Topology, server: Special) -> None:
    """A knock that was heard before it was deleted, of a clock that is ahead, does not open twice."""
    host = network.server
    ahead = server.knock(network.attacker, host.ipv4, offset=25)
    until(lambda: gets_in(network.attacker, host.ipv4))
    server.shut(network.attacker.ipv4)
    for memory in server.directory.rglob("knocks"):
        memory.unlink()
    os.kill(server.knockd_pid(), signal.SIGKILL)
    shut = server.server.wait_events("gate-shut", 2)[-1]
    assert "the replay memory was lost: knocks are refused until " in shut["error"]["message"]
    send(network.attacker, host.ipv4, ahead)
    server.server.wait_events("knock-rejected")
    assert network.attacker.ipv4 not in elements(host)
