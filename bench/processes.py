"""Processes as /proc shows them: who descends from whom, name, memory, start.

Linux only; where there is no /proc every list is empty and every figure None. PSS (a process's private memory plus its
share of what it shares) is the honest figure for forked workers, but the kernel shows it to root only when the process
made itself not dumpable, as workers do: then RSS is all there is.
"""

from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

#: Fields of /proc/PID/stat after the name in parentheses, counted from the state.
STAT_STATE, STAT_PARENT, STAT_SESSION, STAT_START = 0, 1, 3, 19

#: Bytes in the kernel's "kB".
KIB = 1024


@dataclass(frozen=True, slots=True)
class Process:
    """One process. ``start`` (clock ticks since boot) with ``pid`` names it for good: a pid alone comes back."""

    pid: int
    parent: int
    session: int
    start: int
    state: str
    name: str
    command: str

    @property
    def identity(self) -> tuple[int, int]:
        return self.pid, self.start


def read_process(pid: int) -> Process | None:
    """The process with this pid, or None if there is none."""
    try:
        stat = (PROC / str(pid) / "stat").read_text(errors="replace")
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    return Process(
        pid=pid,
        parent=int(fields[STAT_PARENT]),
        session=int(fields[STAT_SESSION]),
        start=int(fields[STAT_START]),
        state=fields[STAT_STATE],
        name=head.partition("(")[2],
        command=command,
    )


def everyone() -> list[Process]:
    """All processes, oldest pid first."""
    if not PROC.is_dir():
        return []
    pids = sorted(int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())
    return [process for pid in pids if (process := read_process(pid)) is not None]


def family(pid: int) -> list[Process]:
    """The process and all that descend from it, parents before children."""
    known = everyone()
    members = [process for process in known if process.pid == pid]
    for member in members:  # grows while it is walked: children of children follow
        members.extend(process for process in known if process.parent == member.pid)
    return members


def in_session(leader: int) -> list[Process]:
    """Living processes of the session that ``leader`` began, also those whose parent died before them."""
    return [process for process in everyone() if process.session == leader and process.state != "Z"]


def rss_bytes(pid: int) -> int | None:
    """Resident memory, bytes."""
    return memory_field(pid, "status", "VmRSS:")


def pss_bytes(pid: int) -> int | None:
    """Proportional memory, bytes; None if the kernel does not show it to us."""
    return memory_field(pid, "smaps_rollup", "Pss:")


def memory_field(pid: int, file: str, field: str) -> int | None:
    try:
        lines = (PROC / str(pid) / file).read_text(errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * KIB for line in lines if line.startswith(field)), None)
