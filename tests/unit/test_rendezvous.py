"""Where a client is met, and how a name finds its server."""

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.config.name import is_name
from hyperion.proto.handover import encode_handover
from hyperion.rendezvous import (
    INDEX,
    MAX_INDEX_BYTES,
    PREFIX,
    Meeting,
    call,
    fold,
    matching,
    meetings,
    read_index,
    render_index,
)
from hyperion.socket_path import MAX_PATH_BYTES, short
from tests.helpers.calls import bind

WEB = Meeting("Web1", "/run/x/0", ("10.99.0.10", "192.0.2.1"))
DB = Meeting("db1", "/run/x/1", ("10.99.0.11",))


def client(runtime: Path, pid: int, *servers: Meeting) -> Path:
    """What a client with that process id would have made."""
    directory = runtime / f"{PREFIX}{pid}"
    directory.mkdir(parents=True)
    (directory / INDEX).write_text(render_index(servers), encoding="utf-8")
    return directory


@given(st.lists(st.text(min_size=1, max_size=64).filter(is_name), max_size=5, unique=True))
def test_every_name_that_the_configuration_allows_survives_the_index(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    directory = tmp_path_factory.mktemp("index")
    written = [Meeting(name, str(directory / str(place)), ("10.99.0.9",)) for place, name in enumerate(names)]
    (directory / INDEX).write_text(render_index(written), encoding="utf-8")
    assert read_index(str(directory)) == written


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"only-one-word\n\n", b"\0"])
def test_an_index_that_is_none_has_nobody(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / INDEX).write_bytes(content)
    assert read_index(str(tmp_path)) == []


def test_an_endless_index_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_text("0 a\n" * MAX_INDEX_BYTES, encoding="utf-8")
    assert len(read_index(str(tmp_path))) <= MAX_INDEX_BYTES // 4


def test_all_clients_are_found_the_latest_first(tmp_path: Path) -> None:
    old, new = client(tmp_path, 1, WEB), client(tmp_path, 2, DB)
    os.utime(old, (1, 1))
    (tmp_path / "control.sock").touch()
    (tmp_path / f"{PREFIX}3").symlink_to(new)
    found = meetings([str(tmp_path), str(tmp_path / "missing")])
    assert [each.name for each in found] == ["db1", "Web1"]
    assert found[0].path == str(new / "1")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Web1", [WEB]),
        ("web1", [WEB]),
        ("WEB1.hyperion", [WEB]),
        ("web1.Hyperion.", [WEB]),
        ("10.99.0.10", [WEB]),
        ("192.0.2.1", [WEB]),
        ("db1", [DB]),
        ("db", []),
        ("hyperion", []),
        ("", []),
        ("0.0.0.0", []),
    ],
)
def test_what_a_name_means(name: str, expected: list[Meeting]) -> None:
    assert matching(name, [WEB, DB]) == expected


def test_the_exact_name_goes_first() -> None:
    lower = Meeting("web1", "/run/x/2")
    assert matching("web1", [WEB, lower]) == [lower]
    assert matching("WEB1", [WEB, lower]) == [WEB, lower]
    assert fold("WEB1") == fold("web1.hyperion")


@pytest.mark.parametrize("depth", [1, 40])
def test_a_call_reaches_its_worker_however_long_the_path(tmp_path: Path, depth: int) -> None:
    directory = tmp_path.joinpath(*["d"] * depth, "e" * 60)
    directory.mkdir(parents=True)
    path = directory / "0"
    assert depth == 1 or len(str(path)) > MAX_PATH_BYTES
    with socket.socket(socket.AF_UNIX) as listener:
        with short(str(path)) as name:
            listener.bind(name)
        assert path.is_socket()
        listener.listen()
        ours, theirs = socket.socketpair()
        with ours, theirs, call(Meeting("web1", str(path)), 22, theirs, b"x", patience=5):
            accepted, _ = listener.accept()
            data, descriptors, _, _ = socket.recv_fds(accepted, 100, 4)
            assert data == encode_handover(22, b"x")
            with accepted, socket.socket(fileno=descriptors[0]) as handed_over:
                handed_over.send(b"hello")
                assert ours.recv(9) == b"hello"


def test_nobody_there(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(FileNotFoundError):
        call(Meeting("web1", str(tmp_path / "0")), 22, theirs, patience=5)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.timeout(20)
@pytest.mark.parametrize("patience", [0.0, 0.05])
def test_nobody_waits_for_ever_at_a_door_that_is_full(tmp_path: Path, patience: float) -> None:
    """A worker that hangs accepts nobody, and the kernel holds no more callers for it."""
    meeting = Meeting("web1", str(tmp_path / "0"))
    before = len(os.listdir("/proc/self/fd"))
    with bind(tmp_path / "0", backlog=0):
        ours, theirs = socket.socketpair()
        with ours, theirs, call(meeting, 22, theirs, patience=patience), pytest.raises(BlockingIOError):
            call(meeting, 22, theirs, patience=patience)
    assert len(os.listdir("/proc/self/fd")) == before
