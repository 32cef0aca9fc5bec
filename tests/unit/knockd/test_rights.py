"""What the kernel says about a process that kept one right: read in a child, because there is no way back."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
NET_ADMIN = 1 << 12

REPORT = """
import ctypes, json, os, resource, socket, subprocess
from hyperion.knockd.rights import keep_only_net_admin
{before}
keep_only_net_admin()
def status(text):
    lines = dict(line.split(":", 1) for line in text.splitlines())
    return {{name: int(lines[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")}}
try:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packet = "opened"
except PermissionError:
    packet = "refused"
child = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True).stdout
print(json.dumps({{
    "own": status(open("/proc/self/status").read()), "child": status(child), "packet": packet,
    "core": resource.getrlimit(resource.RLIMIT_CORE), "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
}}))
"""


#: A service user; with the first line as one to whom the service manager gave capabilities.
KEEP = "ctypes.CDLL(None).prctl(8, 1, 0, 0, 0)"
USER = "os.setgroups([]); os.setgid(65534); os.setuid(65534)"


def facts(before: str = "") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(before=before)], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.root
def test_only_the_right_to_change_the_firewall_is_left() -> None:
    found = facts()
    assert {found["own"][name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {NET_ADMIN}
    assert found["own"]["NoNewPrivs"] == 1
    assert found["packet"] == "refused"
    assert found["core"] == [0, 0]
    assert found["dumpable"] == 0


@pytest.mark.root
def test_a_program_that_we_start_has_it_too_and_no_other() -> None:
    assert facts()["child"]["CapEff"] == NET_ADMIN


@pytest.mark.root
def test_also_as_a_service_user() -> None:
    found = facts(f"{KEEP}; {USER}")
    assert {found["own"][name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {NET_ADMIN}
    assert found["child"]["CapEff"] == NET_ADMIN
    assert found["packet"] == "refused"


@pytest.mark.root
def test_without_the_right_it_is_an_error() -> None:
    caught = (
        "import sys\ntry:\n    keep_only_net_admin()\nexcept PermissionError as error:\n    sys.exit(error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-c", REPORT.format(before=f"{USER}\n{caught}")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stderr == "capset: Operation not permitted\n"
