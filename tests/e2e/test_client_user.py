"""A client that root starts becomes another user: who has which rights, what a killed child costs, what is left."""

import contextlib
import os
import pwd
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from bench.tunnel import program, quote
from hyperion import capabilities
from hyperion.service_user import OWN_NUMBERS
from tests.e2e.test_real_addresses import echo
from tests.e2e.test_transparent import fetch
from tests.helpers.everyday import http
from tests.helpers.gated import Gated, gated
from tests.helpers.http_service import body
from tests.helpers.knockd_process import status
from tests.helpers.netns import Host, topology
from tests.helpers.others import NOBODY, opened_way
from tests.helpers.product import Product
from tests.helpers.program import Program
from tests.helpers.transparent import FAKE, is_settled, snapshot, wait_for
from tests.helpers.waiting import until

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft", "unshare", "setpriv"), pytest.mark.timeout(180)]

CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, NET_ADMIN = 1 << 0, 1 << 1, 1 << 2, 1 << 12
#: Kept where there is one: older kernels and most containers have none.
BPF = 1 << 39 if 39 in capabilities.read().permitted else 0
THEIRS = "127.0.0.1\tlocalhost\n"

#: CapPrm of each process; CapEff and CapAmb are 0 in all of them.
FAKE_MODE = {
    "hyperion-client": NET_ADMIN | BPF | CHOWN | DAC_OVERRIDE,
    "python": 0,  # the fork server and the resource tracker
    "hyp-tund": 0,
    "hyp-hosts": CHOWN | DAC_OVERRIDE,
    "hyp-web1": 0,
}
REAL_MODE = {"hyperion-client": NET_ADMIN | BPF, "python": 0, "hyp-tund": 0, "hyp-rules": NET_ADMIN, "hyp-web1": 0}


@contextlib.contextmanager
def client(directory: Path, *words: str, prefix: list[str] | None = None) -> Iterator[Program]:
    """``hyperion-client``, started by root, with a home of its own."""
    command = [*(opened_way(tun=True) if prefix is None else prefix), *program("client"), *words]
    running = Program(
        "hyperion-client", [*command, "--log-format", "json"], environment={"HYPERION_HOME": str(directory / "home")}
    )
    try:
        yield running
    finally:
        running.end()


def judge(running: Program, expected: Mapping[str, int], uid: int) -> None:
    """Each process is there, is that user in all four columns, and has just its rights."""
    found: dict[str, set[int]] = {}
    for each in running.family():
        facts = status(each.pid)
        assert facts["Uid"].split() == facts["Gid"].split() == [str(uid)] * 4, each
        assert [int(facts[name], 16) for name in ("CapEff", "CapAmb", "CapBnd")] == [0, 0, 0], each
        assert facts["NoNewPrivs"] == "1", each
        found.setdefault(each.name, set()).add(int(facts["CapPrm"], 16))
    assert found == {name: {rights} for name, rights in expected.items()}


def kill_each(running: Program, expected: Mapping[str, int], uid: int, works: Callable[[], object]) -> None:
    """One child after the other, the fork server included; each time all is as it was soon."""
    (worker,) = [each for each in running.family() if each.name == "hyp-web1"]
    victims = [each.pid for each in running.family() if each.name in expected and each.name.startswith("hyp-")]
    os.kill(worker.parent, signal.SIGKILL)  # the next worker brings another
    for pid in victims:
        started = len(running.events("worker-started"))
        os.kill(pid, signal.SIGKILL)
        running.wait_events("worker-started", started + 1)
        until(lambda: steady(running, expected, uid), 20)
        works()
    until(lambda: steady(running, expected, uid), 20)


def steady(running: Program, expected: Mapping[str, int], uid: int) -> bool:
    """As ``judge``; a helper that has just started still has what it is about to give up."""
    try:
        judge(running, expected, uid)
    except (AssertionError, OSError):
        return False
    return True


@contextlib.contextmanager
def fake(directory: Path) -> Iterator[tuple[Program, Path, Callable[[], object]]]:
    """A client with fake addresses and names, as nobody; the hosts file; and whether an address answers."""
    hosts = directory / "hosts"
    hosts.write_text(THEIRS, encoding="utf-8")
    with http() as web, Product() as product:
        config = product.client_file([product.server([web], name="web1").entry("web1")])
        words = ["run", "--config", str(config), "--tun", "--hosts", "--hosts-file", str(hosts), "--user", "nobody"]
        with client(directory, *words) as running:
            running.wait_events("tunnel-up", 2)
            running.wait_events("service-started")
            yield running, hosts, lambda: until(lambda: fetched(web), 20)


def fetched(web: int) -> bool:
    try:
        return body(3) in fetch(FAKE["web1"], web)
    except OSError:
        return False


def test_fake_addresses_and_names(host: Host, directory: Path) -> None:
    before = snapshot(host)
    with fake(directory) as (running, hosts, works):
        until(lambda: steady(running, FAKE_MODE, NOBODY))
        judge(running, FAKE_MODE, NOBODY)
        works()
        assert "web1.hyperion" in hosts.read_text(encoding="utf-8")
        kill_each(running, FAKE_MODE, NOBODY, works)
        assert "web1.hyperion" in hosts.read_text(encoding="utf-8")
        found = hosts.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, 0, 0o644), "still root's"
        assert running.stop() == 0
        wait_for(host, before)
        assert hosts.read_text(encoding="utf-8") == THEIRS
        assert sorted(directory.iterdir()) == [directory / "home", hosts]


def test_the_supervisor_is_killed(host: Host, directory: Path) -> None:
    before = snapshot(host)
    with fake(directory) as (running, hosts, works):
        works()
        running.send(signal.SIGKILL)
        running.wait_gone()
        wait_for(host, before)
        until(lambda: hosts.read_text(encoding="utf-8") == THEIRS)


@pytest.fixture
def gate(directory: Path) -> Iterator[Gated]:
    with topology() as network, gated(network, directory) as made:
        until(lambda: is_settled(network.admin))
        yield made


@contextlib.contextmanager
def real(gate: Gated) -> Iterator[Program]:
    """A client with real addresses, as nobody."""
    file = gate.client_file(gate.network.server.ipv4)
    prefix = gate.network.admin.command(*opened_way(tun=True))
    words = ["tun", "--config", str(file), "--apply", "--user", "nobody"]
    with client(gate.directory, *words, prefix=prefix) as running:
        running.wait_events("service-started")
        running.wait_events("tunnel-up", 2)
        yield running


def test_real_addresses(gate: Gated) -> None:
    admin, address = gate.network.admin, gate.network.server.ipv4
    before = snapshot(admin)
    with real(gate) as running:
        until(lambda: steady(running, REAL_MODE, NOBODY))
        judge(running, REAL_MODE, NOBODY)
        echo(admin, address)
        kill_each(running, REAL_MODE, NOBODY, lambda: echo(admin, address))
        assert admin.ip("rule").count("lookup 26745") == 1
        assert running.stop() == 0
        wait_for(admin, before)


def test_the_supervisor_of_real_addresses_is_killed(gate: Gated) -> None:
    admin = gate.network.admin
    before = snapshot(admin)
    with real(gate) as running:
        echo(admin, gate.network.server.ipv4)
        running.send(signal.SIGKILL)
        running.wait_gone()
        wait_for(admin, before)


#: Root starts it for the owner of the configuration, who then uses it. $1: configuration, $2: program, $3: port that
#: the server forwards to.
OWNERS_CLIENT = """set -e
mount -t tmpfs -o mode=0755 none /run; mount -t tmpfs -o mode=0755 none /var/log
unset HYPERION_HOME XDG_RUNTIME_DIR XDG_CONFIG_HOME; export HOME=/nonexistent
config=$1; client=$2
owner="setpriv --reuid=1 --regid=1 --clear-groups $client"
hosts=$(dirname "$config")/hosts; printf '127.0.0.1\tlocalhost\n' > "$hosts"
"$client" up --config "$config" -D 127.0.0.1:88 --hosts --hosts-file "$hosts" | grep user:
grep -c web1.hyperion "$hosts"
pid=$(cat /run/hyperion/client-*/pid)
grep -E 'Uid|CapPrm' /proc/$pid/status
stat -c '%u %g %a' /run/hyperion/client-* /run/hyperion/client-*/control.sock /var/log/hyperion/hyperion.log
stat -c '%u %a' /var/log/hyperion
$owner status --config "$config" > /dev/null && echo "status as the owner"
"$client" status --config "$config" > /dev/null && echo "status as root"
printf 'GET /3 HTTP/1.0\\r\\nConnection: close\\r\\n\\r\\n' | $owner nc --config "$config" web1 "$3" | wc -c
sed -i 's/^pool_size = .*/pool_size = 3/' "$config"
$owner reload --config "$config"
printf '[[forward]]\\nlocal = "127.0.0.1:81"\\nserver = "web1"\\nremote_port = 81\\n' >> "$config"
"$client" reload --config "$config" 2>&1 || echo "code $?"
mv /var/log/hyperion/hyperion.log /var/log/hyperion/hyperion.log.1
install -m 600 -o 1 -g 1 /dev/null /var/log/hyperion/hyperion.log
sleep 1.2
sed -i '/forward/,$d' "$config"
$owner reload --config "$config"
sleep 0.5
grep -c config-reload /var/log/hyperion/hyperion.log
$owner down --config "$config"
cat "$hosts"
find /run/hyperion -mindepth 1 -exec stat -c '%u %F' {} +
"$client" down --config "$config"
find /run/hyperion -mindepth 1
"""

#: Root starts it with root's configuration, where nobody made a user for it. $1 to $3: as above.
ROOTS_CLIENT = """set -e
mount -t tmpfs -o mode=0755 none /run; mount -t tmpfs -o mode=0755 none /var/log
unset HYPERION_HOME XDG_RUNTIME_DIR XDG_CONFIG_HOME; export HOME=/nonexistent
config=$1; client=$2; python=$(dirname "$client")/python
nobody="setpriv --reuid=65534 --regid=65534 --clear-groups"
"$client" up --no-tun --config "$config" -D 127.0.0.1:88 | grep -E 'user:|warning:'
directory=$(echo /run/hyperion/client-*); pid=$(cat $directory/pid); uid=$(stat -c %u $directory)
grep Uid /proc/$pid/status
$nobody "$client" nc --config "$config" web1 "$3" < /dev/null > /dev/null 2>&1 || echo "nc as nobody: no"
$nobody "$client" down --config "$config" > /dev/null 2>&1 || echo "down as nobody: no"
printf 'GET /3 HTTP/1.0\\r\\nConnection: close\\r\\n\\r\\n' | "$client" nc --config "$config" web1 "$3" | wc -c
"$client" down --config "$config"
find /run/hyperion -mindepth 1
mkdir -m 700 $directory; chown $uid:$uid $directory
sleep 60 & victim=$!
hold="echo $victim > $directory/pid; exec sleep 50"
setpriv --reuid=$uid --regid=$uid --clear-groups flock --exclusive $directory/pid sh -c "$hold" > /dev/null &
holder=$!
until [ -s $directory/pid ]; do sleep 0.05; done
"$client" up --no-tun --config "$config" 2>&1 || echo "code $?"
"$client" down --now --config "$config" 2>&1 || echo "code $?"
kill -0 $victim && echo "the victim lives"
rm -r $directory
"$client" up --no-tun --config "$config" | grep -c user:
"$client" down --config "$config"
kill $victim; kill $(cat /proc/$holder/task/$holder/children) $holder || true
find /run/hyperion -mindepth 1
"""


def owned(config: Path, key: Path, directory: Path, uid: int) -> Path:
    """A copy of the configuration and its key in ``directory``, all of it that user's."""
    file, own_key = directory / "hyperion.toml", directory / "admin.key"
    own_key.write_bytes(key.read_bytes())
    file.write_text(config.read_text(encoding="utf-8").replace(quote(key), quote(own_key)), encoding="utf-8")
    for path in (directory, own_key, file):
        os.chown(path, uid, uid)
    for path in (own_key, file):
        path.chmod(0o600)
    return file


def test_the_owner_of_the_configuration(host: Host, directory: Path) -> None:
    """``sudo hyperion-client up``: it runs as the owner, who needs no sudo for anything else; so does root."""
    before = snapshot(host)
    with http() as web, Product() as product:
        product.directory.chmod(0o755)
        server = product.server([web], name="web1")
        config = owned(product.client_file([server.entry("web1")]), product.key("admin").file, directory, 1)
        words = [str(config), str(Path(sys.executable).with_name("hyperion-client")), str(web)]
        command = [*opened_way(tun=True), "sh", "-c", OWNERS_CLIENT, "sh", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        lines = re.sub(r"pid \d+", "pid PID", done.stdout).splitlines()
        assert lines[:2] == [f"  user:    {pwd.getpwuid(1).pw_name}", "2"], done.stdout + done.stderr
        del lines[:2]
        assert lines[:2] == ["Uid:\t1\t1\t1\t1", f"CapPrm:\t{FAKE_MODE['hyperion-client']:016x}"]
        assert lines[2:6] == ["1 1 700", "1 1 600", "1 1 600", "0 751"], "the directory of logs stays root's"
        assert lines[6:8] == ["status as the owner", "status as root"]
        assert int(lines[8]) > len(body(3)), "nc"
        assert lines[9] == "hyperion reloaded (pid PID)"
        assert lines[10] == "hyperion-client: error: cannot listen on 127.0.0.1:81: permission denied"
        assert lines[11].startswith("hint: ports below 1024 need root or CAP_NET_BIND_SERVICE")
        assert lines[12:14] == ["code 77", "hyperion reloaded (pid PID)"]
        assert int(lines[14]) > 0, "it goes on in the new log"
        assert lines[15:17] == ["hyperion down (stopped pid PID)", THEIRS.rstrip()]
        # It cannot remove its directory, which lies in root's. Root can, and then nothing is left.
        assert lines[17:] == ["1 directory", "hyperion is not running (no pid file)"]
        wait_for(host, before)


def test_the_configuration_of_root(host: Host, directory: Path) -> None:
    """It becomes a user that no other process is; who was that user before makes root signal nobody."""
    with http() as web, Product() as product:
        config = product.client_file([product.server([web], name="web1").entry("web1")])
        words = [str(config), str(Path(sys.executable).with_name("hyperion-client")), str(web)]
        command = [*opened_way(), "sh", "-c", ROOTS_CLIENT, "sh", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        lines = re.sub(r"pid \d+", "pid PID", done.stdout).splitlines()
        uid = OWN_NUMBERS["hyperion-client"][0]
        assert lines[0] == f"  user:    uid {uid}", done.stdout + done.stderr
        assert "there is no user hyperion-client" in lines[1]
        assert lines[2] == "Uid:" + f"\t{uid}" * 4
        assert lines[3:5] == ["nc as nobody: no", "down as nobody: no"]
        assert int(lines[5]) > len(body(3)), "nc as root"
        assert lines[6] == "hyperion down (stopped pid PID)", "and nothing is left"
        assert lines[7].startswith("hyperion-client: error: another user holds the lock /run/hyperion/client-")
        assert lines[7].endswith("/pid, and does not answer as hyperion-client")
        assert lines[8].startswith("hint: it is just starting, or no Hyperion: fuser -v /run/hyperion/client-")
        assert lines[9] == "code 73"
        assert lines[10].endswith("nothing was stopped")
        assert lines[12:] == ["code 75", "the victim lives", "1", "hyperion down (stopped pid PID)"], done.stderr


def test_started_by_a_service_manager_it_ends_in_the_same_state(host: Host, directory: Path) -> None:
    """As systemd does with User= and AmbientCapabilities= of transparent.conf, but for the one that may be missing."""
    before = snapshot(host)
    given = "+net_admin,+setpcap"
    rights = [f"--inh-caps={given}", f"--ambient-caps={given}", f"--bounding-set=-all,{given}", "--no-new-privs"]
    prefix = [*opened_way(tun=True), "setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *rights]
    with http() as web, Product() as product:
        server = product.server([web], name="web1")
        config = owned(product.client_file([server.entry("web1")]), product.key("admin").file, directory, NOBODY)
        with client(directory, "run", "--tun", "--config", str(config), prefix=prefix) as running:
            running.wait_events("tunnel-up", 2)
            running.wait_events("service-started")
            expected = {name: each & ~BPF for name, each in REAL_MODE.items() if name != "hyp-rules"}
            until(lambda: steady(running, expected, NOBODY))
            judge(running, expected, NOBODY)
            kill_each(running, expected, NOBODY, lambda: until(lambda: fetched(web), 20))
            assert running.stop() == 0
            wait_for(host, before)


def test_a_user_who_cannot_make_devices(host: Host, directory: Path) -> None:
    """Asked for, it is refused; else root stays root, without root's rights."""
    with Product() as product:
        config = product.client_file([product.server([1], name="web1").entry("web1")])
        words = ["run", "--config", str(config), "--tun"]
        prefix = [*opened_way(tun=True), "sh", "-c", 'chmod 600 /dev/net/tun; exec "$@"', "sh"]
        with client(directory, *words, "--user", "nobody", prefix=prefix) as running:
            assert running.wait() == 77
            assert running.err == [
                "hyperion-client: error: user nobody cannot use /dev/net/tun",
                "hint: chmod 666 /dev/net/tun, as udev does, or choose another with --user",
            ]
        with client(directory, *words, prefix=prefix) as running:
            running.wait_events("tunnel-up", 2)
            running.wait_events("service-started")
            (warning,) = [each["message"] for each in running.records if each["log.level"] == "warning"]
            assert re.match(r"root serves, without root's rights, because uid 60\d{3} cannot use /dev/net/tun", warning)
            expected = {name: rights for name, rights in REAL_MODE.items() if name != "hyp-rules"}
            expected["hyperion-client"] |= DAC_READ_SEARCH
            until(lambda: steady(running, expected, 0))
            judge(running, expected, 0)
            assert running.stop() == 0
