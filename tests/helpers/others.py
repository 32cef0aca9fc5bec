"""What a test needs to look at its own files, and to run the programs, as another user."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NOBODY = 65_534


def open_way(directory: Path) -> None:
    """Lets every user get to ``directory`` of a test: pytest's own directories are closed to others."""
    top = Path(tempfile.gettempdir()).resolve()
    for place in (directory.resolve(), *directory.resolve().parents):
        if place == top or top not in place.parents:
            return
        place.chmod(0o755)


_HOLDER = """
import fcntl, os, sys
directory, uid, number = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.setresgid(uid, uid, uid)
os.setresuid(uid, uid, uid)
with open(directory + "/pid", "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    file.write(number or str(os.getpid()))
    file.flush()
    print(flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def lock_held(directory: Path, number: int | None = None, uid: int = NOBODY) -> Iterator["subprocess.Popen[bytes]"]:
    """Another user, no program of ours, holds the lock in a directory that is that user's, and wrote ``number`` there
    (``None``: the own one)."""
    directory.mkdir(parents=True, exist_ok=True)
    os.chown(directory, uid, uid)
    directory.chmod(0o700)
    open_way(directory.parent)
    words = [sys.executable, "-c", _HOLDER, str(directory), str(uid), "" if number is None else str(number)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"\n"
        try:
            yield holder
        finally:
            assert holder.stdin is not None
            holder.stdin.close()


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
