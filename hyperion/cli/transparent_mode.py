"""Whether transparent mode can be had here, and if not, in words, why not and what would help.

Knows the packages of the ``tun`` extra by name and the one right that is needed. Imports none of those packages: the
client is to work without them.
"""

import contextlib
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from hyperion.capabilities import Capability
from hyperion.errors import CannotCreateError, HyperionError, RefusedError, UsageError
from hyperion.hosts import write
from hyperion.paths import DEVICE, HOSTS_FILE
from hyperion.privileges import held
from hyperion.way_out import DEVICE_NAME, exists

#: What makes it. udev lets everybody open it, because the capability is what counts.
TUN_DEVICE = Path("/dev/net/tun")

#: Where the kernel is told how to check that an answer came the way the question went.
REVERSE_PATH = Path("/proc/sys/net/ipv4/conf")

#: Seconds that the device of a client which has just ended may take to go, and between two looks.
LEAVING_SECONDS = 1.0
LOOK_SECONDS = 0.05

#: Modules of the ``tun`` extra, and the packages that bring them. Named one by one where somebody is to install them:
#: an index may have another project under the name of this one.
NEEDED = ("pytun", "pyroute2")
PACKAGES = ("python-pytun", "pyroute2")


def obstacle() -> HyperionError | None:
    """What stands in the way; ``None``: nothing."""
    if sys.platform != "linux":
        return UsageError("transparent mode needs Linux", hint="forwards (-L) and nc work everywhere")
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        what = f"{missing[0]}, which is" if len(missing) == 1 else f"{' and '.join(missing)}, which are"
        return UsageError(
            f"transparent mode needs {what} not installed", hint=f"{sys.executable} -m pip install {' '.join(PACKAGES)}"
        )
    if not held(frozenset({Capability.NET_ADMIN})):
        return RefusedError(
            "transparent mode needs CAP_NET_ADMIN",
            hint="start it as root (sudo), or give it that one capability (operations.md, transparent mode)",
        )
    return None


def prepare(*, tun: bool, hosts: Path | None) -> None:
    """Raises what stands in the way of what was asked for; takes away names that a client which was killed left behind.

    ``hosts``: the file that is to hold names, if there are to be any.
    """
    if hosts is not None and not tun:
        raise UsageError("--hosts needs --tun", hint="the names stand for addresses of transparent mode")
    if not tun:
        return
    if (error := obstacle()) is not None:
        raise error
    refuse_second()
    if hosts is None:
        forget_names()


def refuse_second(device: str = DEVICE_NAME) -> None:
    """Raises ``CannotCreateError`` if a client is in transparent mode already: before anything is started that would
    get into its way, its routing rule above all. One that has just ended has a moment to go."""
    deadline = time.monotonic() + LEAVING_SECONDS
    while exists(device):
        if time.monotonic() >= deadline:
            raise CannotCreateError(
                f"{device} is in use: another hyperion-client is in transparent mode here",
                hint="one client serves all servers; stop that one: hyperion-client down (with its -c, if it has one)",
            )
        time.sleep(LOOK_SECONDS)


def forget_names(path: Path = HOSTS_FILE) -> None:
    """No name of ours is in the hosts file any more, unless a client runs that put them there.

    As far as we may write it: who is not root left none behind either.
    """
    if DEVICE.exists():
        return
    with contextlib.suppress(HyperionError):
        write((), path)


def strict_devices(root: Path = REVERSE_PATH) -> list[str]:
    """Devices whose reverse path filter drops the answers to marked packets: it looks the way back up without the mark.

    The kernel takes the stricter of a device's own value and that of "all"; 1 is strict, 2 is loose.
    """

    def value(name: str) -> int:
        try:
            return int((root / name / "rp_filter").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return 0

    names = sorted(path.name for path in root.glob("*") if path.name not in {"all", "default", "lo", DEVICE.name})
    return [name for name in names if max(value("all"), value(name)) == 1]


def check_reverse_path(root: Path = REVERSE_PATH) -> None:
    """Raises ``RefusedError`` where real addresses cannot work."""
    strict = strict_devices(root)
    if strict:
        raise RefusedError(
            f"the reverse path filter of {', '.join(strict)} is strict: answers to the tunnel would be dropped",
            hint="sysctl " + " ".join(f"net.ipv4.conf.{name}.rp_filter=2" for name in ("all", *strict)),
        )
