"""The processes of the demonstration as a tree: pid, name, memory, and what each is for."""

from collections.abc import Sequence

from bench import processes
from bench.processes import Process
from bench.tunnel import is_worker

MEGA = 1e6

HEADER = ("process", "pid", "MB", "what it is")
RIGHT = (1, 2)


def rows(roots: Sequence[tuple[int, str]]) -> list[tuple[str, str, str, str]]:
    """A row for each process under the roots, each root a pid and what it is; parents before their children."""
    found = []
    for root, purpose in roots:
        for process, branch in nested(processes.family(root)):
            text = purpose if process.pid == root else describe(process)
            found.append((f"{branch}{process.name}", str(process.pid), memory(process.pid), text))
    return found


def nested(members: Sequence[Process], indent: str = "") -> list[tuple[Process, str]]:
    """Depth first, each with the branch drawn before its name; the first member is the root."""
    if not members:
        return []
    root = members[0]
    found = [(root, indent)]
    children = [member for member in members if member.parent == root.pid]
    stem = indent.replace("├─ ", "│  ").replace("└─ ", "   ")
    for child in children:
        branch = "└─ " if child is children[-1] else "├─ "
        below = [child, *(member for member in members if member is not child and member is not root)]
        found += nested(below, f"{stem}{branch}")
    return found


def memory(pid: int) -> str:
    """PSS where the kernel shows it, else RSS (which counts shared pages in full) marked as such."""
    pss = processes.pss_bytes(pid)
    if pss is not None:
        return f"{pss / MEGA:.1f}"
    rss = processes.rss_bytes(pid)
    return "?" if rss is None else f"{rss / MEGA:.1f} rss"


def describe(process: Process) -> str:
    """What a process below a supervisor is for."""
    if is_worker(process):
        return "worker: carries the traffic, holds no privilege"
    if "resource_tracker" in process.command:
        return "Python's own helper of the fork server"
    if "forkserver" in process.command:
        return "fork server: a clean, preloaded process that new workers are forked from"
    return ""
