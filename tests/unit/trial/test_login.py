import os
from pathlib import Path

import pytest

from hyperion.trial.connections import Connection
from hyperion.trial.login import login_connection
from tests.unit.trial.test_connections import HEAD, line, one

SSH = one("198.51.100.7", 40_000, "192.0.2.1", 22)
OTHER = one("198.51.100.7", 40_001, "192.0.2.1", 22)


class Proc:
    """A /proc of a few processes: 100 is ours, 90 its parent (sudo), 80 sshd's, 1 init."""

    def __init__(self, root: Path, connections: dict[Connection, str]) -> None:
        self.root = root
        (root / "thread-self/net").mkdir(parents=True)
        lines = [
            line(str(c.local), c.local_port, str(c.remote), c.remote_port, "01", int(i)) for c, i in connections.items()
        ]
        (root / "thread-self/net/tcp").write_text("".join((HEAD, line("0.0.0.0", 22, "0.0.0.0", 0, "0A", 1), *lines)))
        for pid, parent in ((100, 90), (90, 80), (80, 1)):
            (root / f"{pid}/fd").mkdir(parents=True)
            (root / f"{pid}/stat").write_text(f"{pid} (a) b (c) S {parent} 1 1 0\n")
            (root / f"{pid}/environ").write_bytes(b"HOME=/root\0")

    def says(self, pid: int, value: str) -> None:
        (self.root / f"{pid}/environ").write_bytes(f"HOME=/root\0SSH_CONNECTION={value}\0".encode())

    def holds(self, pid: int, *inodes: int) -> None:
        for number, inode in enumerate(inodes):
            os.symlink(f"socket:[{inode}]", self.root / f"{pid}/fd/{number}")

    def login(self) -> Connection | None:
        return login_connection(100, self.root)


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path, {SSH: "11", OTHER: "12", one("192.0.2.50", 443, "192.0.2.1", 50_000): "13"})


def test_as_sshd_names_it(proc: Proc) -> None:
    proc.says(100, "198.51.100.7 40000 192.0.2.1 22")
    assert proc.login() == SSH


def test_above_sudo(proc: Proc) -> None:
    proc.says(80, "198.51.100.7 40001 192.0.2.1 22")
    assert proc.login() == OTHER


def test_by_the_socket_of_a_process_above(proc: Proc) -> None:
    proc.holds(100, 7, 8)
    # A forward that sshd makes is a connection of its own, to a port that nobody here listens on.
    proc.holds(80, 13, 12, 1)
    assert proc.login() == OTHER


def test_of_two_sockets_none(proc: Proc) -> None:
    proc.holds(80, 11, 12)
    assert proc.login() is None


@pytest.mark.parametrize(
    "value", ["", "198.51.100.7 39999 192.0.2.1 22", "nonsense", "a b c d", "198.51.100.7 x 192.0.2.1 22", "1 2 3 4 5"]
)
def test_a_name_of_no_connection_is_none(proc: Proc, value: str) -> None:
    """A shell in tmux is named after a login that may be gone."""
    proc.says(100, value)
    assert proc.login() is None


def test_nobodys_child(proc: Proc) -> None:
    assert proc.login() is None
    assert login_connection(1, proc.root) is None
    assert login_connection(12_345, proc.root) is None


def test_a_ring_of_parents_ends(proc: Proc) -> None:
    (proc.root / "80/stat").write_text("80 (x) S 100 1\n")
    assert proc.login() is None
    (proc.root / "80/stat").write_text("80 (x)")
    assert proc.login() is None
