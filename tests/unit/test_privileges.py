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
facts["uid"] = os.geteuid()
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


def test_the_process_name_is_best_effort(tmp_path: Path) -> None:
    facts = facts_after(
        "import builtins; real = builtins.open\n"
        "def refuse(path, *rest):\n    raise PermissionError(path)\n"
        "builtins.open = refuse; privileges.set_process_name('hyp-x'); builtins.open = real"
    )
    assert facts["name"] != "hyp-x"


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
