"""Which TCP connection a person's login came over: what would be cut, and what proves that one gets in.

Two ways, the surer one first. sshd names the connection in ``SSH_CONNECTION``, which is looked for in the environment
of the process and of those above it (sudo takes it out of its child's), and counts only while there is such a
connection. Else it is the one that a process above us holds at a port that somebody listens on (dropbear, telnetd).

Inside tmux and screen there is none of both, or one of a login long ago: then no answer is given, rather than a guess.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from hyperion.trial.connections import Connection, established, listening_ports, parse_address

#: Steps up the tree of processes; a loop is impossible, but files may say anything.
MAX_ANCESTORS = 64

_SOCKET = re.compile(r"socket:\[(\d+)\]")


def login_connection(pid: int, proc: Path = Path("/proc")) -> Connection | None:
    """Of the process ``pid``; ``None`` where there is none that is surely right."""
    live = established(proc / "thread-self")
    family = list(_ancestors(pid, proc))
    for one in family:
        named = _named_by_ssh(one, proc)
        if named in live:
            return named
    ports = listening_ports(proc / "thread-self")
    for one in family:
        inodes = _sockets(one, proc)
        held = [connection for connection, inode in live.items() if inode in inodes and connection.local_port in ports]
        if held:
            return held[0] if len(held) == 1 else None
    return None


def _ancestors(pid: int, proc: Path) -> Iterator[int]:
    for _ in range(MAX_ANCESTORS):
        if pid <= 1:
            return
        yield pid
        try:
            # The name, in parentheses, may hold anything.
            pid = int((proc / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return


def _named_by_ssh(pid: int, proc: Path) -> Connection | None:
    try:
        environment = (proc / str(pid) / "environ").read_bytes().decode("utf-8", "replace")
    except OSError:
        return None
    value = next((item for item in environment.split("\0") if item.startswith("SSH_CONNECTION=")), "")
    try:
        remote, remote_port, local, local_port = value.partition("=")[2].split()
        return Connection(parse_address(remote), int(remote_port), parse_address(local), int(local_port))
    except ValueError:
        return None


def _sockets(pid: int, proc: Path) -> frozenset[str]:
    found = set()
    try:
        for descriptor in (proc / str(pid) / "fd").iterdir():
            match = _SOCKET.fullmatch(os.readlink(descriptor))
            if match is not None:
                found.add(match[1])
    except OSError:
        return frozenset()
    return frozenset(found)
