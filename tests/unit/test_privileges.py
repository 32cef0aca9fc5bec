"""What the kernel says about a process that gave up its rights: read in a child, because there is no way back."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hyperion.privileges import signal_on_parent_death

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")

REPORT = """
import ctypes, json, os, resource
from hyperion import privileges
{before}
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
facts = {{name: int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}}
facts["no_new_privs"] = int(status["NoNewPrivs"])
facts["dumpable"] = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
facts["core"] = resource.getrlimit(resource.RLIMIT_CORE)
facts["name"] = status["Name"].strip()
facts["uid"], facts["gids"], facts["groups"] = os.geteuid(), os.getresgid(), sorted(os.getgroups())
print(json.dumps(facts))
"""


def facts_after(before: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(before=before)], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.stderr == ""
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def test_a_hardened_worker_has_no_rights_left() -> None:
    facts = facts_after("privileges.harden_worker()")
    assert [facts[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0, 0, 0, 0]
    assert facts["no_new_privs"] == 1
    assert facts["dumpable"] == 0
    assert facts["core"] == [0, 0]


@pytest.mark.root
def test_the_bounding_set_is_emptied_where_that_is_permitted() -> None:
    assert facts_after("")["CapBnd"] != 0
    assert facts_after("privileges.harden_worker()")["CapBnd"] == 0


@pytest.mark.root
def test_an_ordinary_user_may_call_it_too() -> None:
    facts = facts_after("os.setgroups([]); os.setgid(65534); os.setuid(65534); privileges.harden_worker()")
    assert facts["uid"] == 65534
    assert facts["CapEff"] == 0
    assert facts["no_new_privs"] == 1


def test_twice_is_as_good_as_once() -> None:
    assert facts_after("privileges.harden_worker(); privileges.harden_worker()")["no_new_privs"] == 1


@pytest.mark.parametrize(
    ("name", "shown"), [("hyp-web1", "hyp-web1"), ("hyperion-server-long", "hyperion-server"), ("hyp-é", "hyp-?")]
)
def test_the_process_name_is_cut_and_ascii(name: str, shown: str) -> None:
    assert facts_after(f"privileges.set_process_name({name!r})")["name"] == shown


def test_the_process_name_is_best_effort() -> None:
    facts = facts_after(
        "def refuse(*_):\n    raise PermissionError\n"
        "privileges.prctl, real = refuse, privileges.prctl; privileges.set_process_name('hyp-x')"
    )
    assert facts["name"] != "hyp-x"


def test_one_that_nobody_may_look_at_can_still_be_named() -> None:
    user = "os.geteuid() or (os.setgid(65534), os.setuid(65534))\n"
    assert facts_after(user + "privileges.harden_worker(); privileges.set_process_name('hyp-x')")["name"] == "hyp-x"


def test_core_dumps_alone() -> None:
    facts = facts_after("privileges.disable_core_dumps()")
    assert facts["core"] == [0, 0]
    assert facts["no_new_privs"] == 0


def test_the_death_of_the_parent_signals() -> None:
    # The shell starts us and is killed by us; pdeathsig 10 is SIGUSR1.
    code = (
        "import os, signal; from hyperion import privileges; privileges.signal_on_parent_death(signal.SIGUSR1);"
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}); os.kill(os.getppid(), signal.SIGKILL);"
        "print(signal.sigwait({signal.SIGUSR1}).name, flush=True)"
    )
    shell = subprocess.Popen(
        ["/bin/sh", "-c", f'{sys.executable} -c "$1"; true', "sh", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    output, _ = shell.communicate(timeout=30)
    assert output == "SIGUSR1\n"


def test_a_refusal_of_the_kernel_is_an_error() -> None:
    with pytest.raises(OSError, match="prctl"):
        signal_on_parent_death(4096)


ONE, TWO = 1 << 13, 1 << 13 | 1 << 12
CAP_SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
AT_REST = {"CapInh": TWO, "CapPrm": TWO, "CapEff": 0, "CapBnd": 0, "CapAmb": 0}
NAMES = """
from hyperion import capabilities
from hyperion.capabilities import Capability, Sets
from hyperion.service_user import ServiceUser
TWO = frozenset({Capability.NET_ADMIN, Capability.NET_RAW})
USER = ServiceUser("somebody", 65534, 65533, (65533, 7))
"""
#: What a service manager does with User= and AmbientCapabilities=.
BY_SYSTEMD = """
GIVEN = TWO | {Capability.SETPCAP}
ALL = capabilities.read().permitted
capabilities.write(Sets(ALL, ALL, GIVEN))
privileges._become(USER)
capabilities.write(Sets(GIVEN, GIVEN, GIVEN))
capabilities.set_ambient(GIVEN)
"""


@pytest.mark.root
def test_dropping_to_a_user_keeps_only_what_is_named_and_none_in_effect() -> None:
    facts = facts_after(NAMES + "privileges.drop_to(USER, TWO)")
    assert {name: facts[name] for name in CAP_SETS} == AT_REST
    assert (facts["uid"], facts["gids"], facts["groups"]) == (65534, [65533] * 3, [7, 65533])
    assert (facts["no_new_privs"], facts["dumpable"], facts["core"]) == (1, 0, [0, 0])


@pytest.mark.root
def test_what_the_service_manager_started_ends_in_the_same_state() -> None:
    given = facts_after(NAMES + BY_SYSTEMD)
    assert given["CapEff"] == given["CapAmb"] == TWO | 1 << 8
    facts = facts_after(NAMES + BY_SYSTEMD + "privileges.drop_to(None, TWO)")
    assert {name: facts[name] for name in CAP_SETS} == AT_REST
    assert facts["uid"] == 65534


@pytest.mark.root
def test_without_the_right_to_bound_the_rest_is_the_same() -> None:
    by_systemd = BY_SYSTEMD.replace(" | {Capability.SETPCAP}", "")
    facts = facts_after(NAMES + by_systemd + "privileges.drop_to(None, TWO)")
    assert {name: facts[name] for name in CAP_SETS if name != "CapBnd"} == {
        name: value for name, value in AT_REST.items() if name != "CapBnd"
    }
    assert facts["no_new_privs"] == 1


@pytest.mark.root
def test_dropping_to_a_user_and_keeping_nothing() -> None:
    facts = facts_after(NAMES + "privileges.drop_to(USER)")
    assert [facts[name] for name in CAP_SETS] == [0] * 5


def test_an_ordinary_user_may_drop_too() -> None:
    user = "os.geteuid() or (os.setgid(65534), os.setuid(65534))\n"
    facts = facts_after(user + "privileges.drop_to(None)")
    assert [facts[name] for name in CAP_SETS if name != "CapBnd"] == [0] * 4
    assert (facts["no_new_privs"], facts["dumpable"]) == (1, 0)


def test_what_is_not_permitted_cannot_be_kept() -> None:
    user = "os.geteuid() or (os.setgid(65534), os.setuid(65534))\n"
    code = "try: privileges.drop_to(None, TWO)\nexcept PermissionError as error: assert '[12, 13]' in str(error)"
    facts = facts_after(NAMES + user + code)
    assert facts["no_new_privs"] == 0, "nothing was changed"


@pytest.mark.root
def test_a_right_is_in_effect_for_one_call() -> None:
    code = """
def packets():
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        return "refused"
    return "opened"
privileges.drop_to(USER, TWO)
seen = [packets()]
with privileges.raised(Capability.NET_RAW):
    seen.append(packets())
seen.append(packets())
assert seen == ["refused", "opened", "refused"], seen
"""
    facts = facts_after("import socket" + NAMES + code)
    assert {name: facts[name] for name in CAP_SETS} == AT_REST


@pytest.mark.root
@pytest.mark.parametrize(("rights", "expected"), [("TWO", TWO), ("frozenset({Capability.NET_RAW})", ONE)])
def test_a_program_is_handed_just_what_is_named(rights: str, expected: int) -> None:
    code = f"""
import subprocess
privileges.drop_to(USER, TWO)
with privileges.ambient({rights}):
    given = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
later = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
def sets(text):
    lines = dict(line.split(":", 1) for line in text.splitlines())
    return [int(lines[name], 16) for name in ("CapPrm", "CapEff", "CapAmb", "CapBnd")]
assert sets(given) == [{expected}] * 3 + [0], sets(given)
assert sets(later) == [0] * 4, sets(later)
"""
    assert {name: value for name, value in facts_after(NAMES + code).items() if name in CAP_SETS} == AT_REST


@pytest.mark.root
def test_what_is_not_held_can_be_neither_raised_nor_handed_on() -> None:
    code = """
privileges.drop_to(USER)
assert privileges.held(TWO) == frozenset()
for block in (privileges.raised(Capability.NET_RAW), privileges.ambient(TWO)):
    try:
        block.__enter__()
    except PermissionError:
        continue
    raise AssertionError
with privileges.ambient(frozenset()):
    pass
"""
    assert facts_after(NAMES + code)["CapPrm"] == 0


def test_a_second_thread_would_keep_its_rights() -> None:
    code = """
import threading
stop = threading.Event()
thread = threading.Thread(target=stop.wait)
thread.start()
privileges.THREAD_END_SECONDS = 0.05
try:
    privileges.drop_to(None)
except RuntimeError as error:
    assert "thread" in str(error)
else:
    raise AssertionError
stop.set()
privileges.THREAD_END_SECONDS = 5
privileges.drop_to(None)
thread.join()
"""
    assert facts_after(code)["no_new_privs"] == 1
