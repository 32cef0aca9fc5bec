"""The systemd units: what they allow, judged by systemd itself where it is installed."""

import re
import subprocess
from pathlib import Path

import pytest

from hyperion.capabilities import Capability
from hyperion.cli.transparent_mode import TUN_DEVICE
from hyperion.supervisor.kind import KNOCKD, TUND

DIRECTORY = Path(__file__).parents[1] / "deploy" / "systemd"
SERVER = DIRECTORY / "hyperion-server.service"
CLIENT = DIRECTORY / "hyperion-client.service"
NO_GATE = DIRECTORY / "no-gate.conf"
TRANSPARENT = DIRECTORY / "transparent.conf"

#: Of 100, as ``systemd-analyze security`` counts them.
MAX_EXPOSURE = 25


def settings(path: Path) -> dict[str, list[str]]:
    """Each setting with its values, in order; an empty one forgets those before it, as systemd reads it."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(name, []).append(value)
        if not value:
            found[name] = []
    return found


def words(path: Path, name: str) -> set[str]:
    return {word for value in settings(path).get(name, []) for word in value.split()}


def test_the_server_gets_what_its_gate_needs_and_the_right_to_give_it_up() -> None:
    assert KNOCKD.rights is not None
    needed = {f"CAP_{Capability(number).name}" for number in KNOCKD.rights} | {"CAP_SETPCAP"}
    assert words(SERVER, "AmbientCapabilities") == needed
    assert words(SERVER, "CapabilityBoundingSet") == needed
    assert {"AF_PACKET", "AF_NETLINK", "AF_UNIX", "AF_INET", "AF_INET6"} == words(SERVER, "RestrictAddressFamilies")
    # In a user namespace of its own the firewall would not be ours to change.
    assert "PrivateUsers" not in settings(SERVER)


def test_without_a_gate_nothing_is_left_of_it() -> None:
    assert words(NO_GATE, "AmbientCapabilities") == words(NO_GATE, "CapabilityBoundingSet") == set()
    assert words(NO_GATE, "RestrictAddressFamilies") == words(CLIENT, "RestrictAddressFamilies")
    assert settings(NO_GATE)["PrivateUsers"] == ["yes"]


def test_transparent_mode_gets_its_device_and_the_right_to_make_it() -> None:
    assert TUND.rights is not None
    needed = {f"CAP_{Capability(number).name}" for number in TUND.rights | TUND.welcome} | {"CAP_SETPCAP"}
    found = settings(TRANSPARENT)
    assert found["SystemCallFilter"] == ["bpf"]
    assert words(TRANSPARENT, "AmbientCapabilities") == words(TRANSPARENT, "CapabilityBoundingSet") == needed
    assert (found["DevicePolicy"], found["DeviceAllow"]) == (["closed"], [f"{TUN_DEVICE} rw"])
    assert (found["PrivateDevices"], found["PrivateUsers"]) == (["no"], ["no"])
    # As the unit has it, but for the mode; what is added to the families is what the routes need.
    assert found["ExecStart"] == [settings(CLIENT)["ExecStart"][0].replace(" run ", " run --tun ")]
    assert words(TRANSPARENT, "RestrictAddressFamilies") == {"AF_NETLINK"}


@pytest.mark.parametrize("unit", [SERVER, CLIENT], ids=lambda path: path.stem)
def test_what_no_unit_goes_without(unit: Path) -> None:
    found = settings(unit)
    for name in ("NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectKernelModules", "RestrictNamespaces"):
        assert found[name] == ["yes"], name
    assert found["ProtectSystem"] == ["strict"]
    assert found["User"] != ["root"]
    assert "@setuid" in words(unit, "SystemCallFilter")
    # What every process of ours calls to give up its rights, though @privileged is refused.
    assert found["SystemCallFilter"][-1] == "capset"


def copied(unit: Path, drop_in: Path | None, directory: Path) -> Path:
    """Alone: systemd also reads what lies beside it. Only the program is not where the unit will look for it."""

    def rewritten(path: Path) -> str:
        return re.sub(r"^ExecStart=/\S+", "ExecStart=/bin/true", path.read_text(encoding="utf-8"), flags=re.MULTILINE)

    copy = directory / unit.name
    copy.write_text(rewritten(unit), encoding="utf-8")
    if drop_in is not None:
        beside = directory / f"{unit.name}.d"
        beside.mkdir()
        (beside / drop_in.name).write_text(rewritten(drop_in), encoding="utf-8")
    return copy


WHOLE = pytest.mark.parametrize(
    ("unit", "drop_in"), [(SERVER, None), (SERVER, NO_GATE), (CLIENT, None), (CLIENT, TRANSPARENT)]
)


@pytest.mark.needs("systemd-analyze")
@WHOLE
def test_systemd_finds_it_little_exposed(unit: Path, drop_in: Path | None, tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={MAX_EXPOSURE}"]
    copy = copied(unit, drop_in, tmp_path)
    done = subprocess.run([*command, str(copy)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout[-400:]


@pytest.mark.needs("systemd-analyze")
@WHOLE
def test_systemd_understands_every_line(unit: Path, drop_in: Path | None, tmp_path: Path) -> None:
    copy = copied(unit, drop_in, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
