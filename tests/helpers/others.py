"""What a test needs to look at its own files, and to run the programs, as another user."""

import os
import sys
import tempfile
from pathlib import Path

NOBODY = 65_534


def open_way(directory: Path) -> None:
    """Lets every user get to ``directory`` of a test: pytest's own directories are closed to others."""
    top = Path(tempfile.gettempdir()).resolve()
    for place in (directory.resolve(), *directory.resolve().parents):
        if place == top or top not in place.parents:
            return
        place.chmod(0o755)


def opened_way(*, tun: bool = False) -> list[str]:
    """A prefix: every user can run our interpreter, as if it were installed where it belongs; and, with ``tun``, open
    the device that makes TUN devices, as udev has it."""
    lines = []
    path = Path(os.path.realpath(sys.executable))
    for parent, child in zip([*path.parents][-2::-1], [*path.parents][-3::-1], strict=False):
        if parent.stat().st_mode & 0o005 != 0o005:
            keep = "$(mktemp -d)"
            lines += [
                f"k={keep}; mount --bind {parent} $k; mount -t tmpfs -o mode=0755 none {parent}",
                f"mkdir -p {child}; mount --bind $k/{child.name} {child}",
            ]
            break
    if tun:
        lines.append("mount -t tmpfs -o mode=0755 none /dev/net; mknod -m 666 /dev/net/tun c 10 200")
    script = "; ".join(["set -e", *lines, 'exec "$@"'])
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
