import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from hyperion.log import writer as module
from hyperion.log.writer import MAX_QUEUED_BYTES, MAX_QUEUED_LINES, MAX_WRITE_BYTES, LineWriter

PATIENCE = 20.0
PIPE_BYTES = 65_536


class Pipe(NamedTuple):
    reader: int
    writer: int

    def read_lines(self) -> list[bytes]:
        """All until the writing end is closed."""
        with os.fdopen(os.dup(self.reader), "rb") as stream:
            return stream.read().splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    reader, writing = os.pipe()
    yield Pipe(reader, writing)
    for fd in (reader, writing):
        with contextlib.suppress(OSError):  # the test closed it itself
            os.close(fd)


def report(count: int) -> bytes:
    return b"dropped %d" % count


def finish(lines: LineWriter, pipe: Pipe) -> list[bytes]:
    """Close writer and pipe while somebody reads; what was read."""
    seen: list[bytes] = []
    reading = threading.Thread(target=lambda: seen.extend(pipe.read_lines()))
    reading.start()
    assert lines.close(PATIENCE)
    os.close(pipe.writer)
    reading.join(PATIENCE)
    return seen


def test_lines_come_out_whole_and_in_order(pipe: Pipe) -> None:
    lines = LineWriter(pipe.writer, report)
    sent = [b"line %d" % number for number in range(2_000)]
    for line in sent:
        lines.put(line)
    assert finish(lines, pipe) == sent
    assert lines._queued_bytes == 0


def test_flush_waits_for_the_last_byte(pipe: Pipe) -> None:
    lines = LineWriter(pipe.writer, report)
    lines.put(b"one")
    assert lines.flush(PATIENCE)
    os.set_blocking(pipe.reader, False)
    assert os.read(pipe.reader, 100) == b"one\n"
    assert lines.close(PATIENCE)


@pytest.mark.parametrize("blocking", [True, False])
def test_a_reader_who_stops_costs_lines_not_time(pipe: Pipe, *, blocking: bool) -> None:
    os.set_blocking(pipe.writer, blocking)
    lines = LineWriter(pipe.writer, report)
    line = b"x" * 1_000
    total = 3 * MAX_QUEUED_BYTES // len(line)
    for _ in range(total):
        lines.put(line)  # would hang here if it waited for the reader
    assert not lines.flush(0.01)
    assert lines._queued_bytes <= MAX_QUEUED_BYTES
    seen = finish(lines, pipe)
    reports = [item for item in seen if item.startswith(b"dropped ")]
    assert [item for item in seen if item not in reports] == [line] * (len(seen) - len(reports))
    dropped = sum(int(item.split()[1]) for item in reports)
    assert dropped >= total - (MAX_QUEUED_BYTES + PIPE_BYTES + 2 * MAX_WRITE_BYTES) // len(line)
    assert dropped + len(seen) - len(reports) == total
    assert reports


def test_short_lines_are_bounded_by_number(pipe: Pipe) -> None:
    lines = LineWriter(pipe.writer, report)
    for _ in range(PIPE_BYTES + 2 * MAX_QUEUED_LINES):
        lines.put(b"")
        assert len(lines._lines) <= MAX_QUEUED_LINES
    finish(lines, pipe)


def test_close_gives_up_on_a_reader_who_stays_away(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    lines = LineWriter(pipe.writer, report)
    for _ in range(200):
        lines.put(b"x" * 1_000)
    assert not lines.close(0.05)
    lines._thread.join(PATIENCE)
    assert not lines._thread.is_alive()
    lines.put(b"after the end")
    assert not lines.flush(0.01)


class FaultyWrite:
    """os.write that follows a script: an error number, or how many bytes to take; then all is well."""

    def __init__(self, *script: int | OSError) -> None:
        self._script = list(script)
        self.written = b""
        self.sizes: list[int] = []

    def __call__(self, _fd: int, data: bytes) -> int:
        step = self._script.pop(0) if self._script else len(data)
        if isinstance(step, OSError):
            raise step
        self.written += data[:step]
        self.sizes.append(len(data))
        return min(step, len(data))


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FaultyWrite]:
    def install(*script: int | OSError) -> FaultyWrite:
        write = FaultyWrite(*script)
        monkeypatch.setattr("os.write", write)
        return write

    return install


def test_partial_writes_and_a_full_pipe_are_continued(faulty: Callable[..., FaultyWrite]) -> None:
    write = faulty(2, BlockingIOError(errno.EAGAIN, "full"), 1)
    lines = LineWriter(9, report)
    lines.put(b"hello")
    assert lines.close(PATIENCE)
    assert write.written == b"hello\n"


@pytest.mark.parametrize("number", [errno.EPIPE, errno.ENOSPC, errno.EIO, errno.EBADF])
def test_a_failing_write_loses_lines_and_says_so_later(faulty: Callable[..., FaultyWrite], number: int) -> None:
    write = faulty(OSError(number, "no"))
    lines = LineWriter(9, report)
    lines.put(b"lost")
    assert lines.flush(PATIENCE)
    lines.put(b"kept")
    assert lines.close(PATIENCE)
    assert write.written == b"kept\ndropped 1\n"


def test_after_a_torn_line_the_next_one_starts_anew(faulty: Callable[..., FaultyWrite]) -> None:
    write = faulty(2, OSError(errno.ENOSPC, "full"), OSError(errno.ENOSPC, "full"))
    lines = LineWriter(9, report)
    for line in (b"torn", b"lost"):
        lines.put(line)
        assert lines.flush(PATIENCE)
    lines.put(b"kept")
    assert lines.close(PATIENCE)
    assert write.written == b"to\nkept\ndropped 2\n"


def test_a_report_that_cannot_be_written_is_not_forgotten(faulty: Callable[..., FaultyWrite]) -> None:
    write = faulty(OSError(errno.ENOSPC, "full"), 5, OSError(errno.ENOSPC, "full"))
    lines = LineWriter(9, report)
    for line in (b"lost", b"kept", b"more"):
        lines.put(line)
        assert lines.flush(PATIENCE)
    assert lines.close(PATIENCE)
    assert write.written == b"kept\nmore\ndropped 1\n"


def test_one_write_is_never_larger_than_a_pipe_takes_whole(faulty: Callable[..., FaultyWrite]) -> None:
    write = faulty(BlockingIOError(errno.EAGAIN, "full"))  # so that the rest piles up
    lines = LineWriter(9, report)
    for number in range(2_000):
        lines.put(b"x" * (number % 1_000))
    assert lines.close(PATIENCE)
    assert max(write.sizes) <= MAX_WRITE_BYTES
    assert max(write.sizes) > MAX_WRITE_BYTES // 2
    assert write.written.count(b"\n") == 2_000


def test_several_threads_lose_nothing(pipe: Pipe) -> None:
    lines = LineWriter(pipe.writer, report)
    names = [b"a", b"b", b"c", b"d"]

    def put_many(name: bytes) -> None:
        for _ in range(500):
            lines.put(name)

    threads = [threading.Thread(target=put_many, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    seen = finish(lines, pipe)
    assert {name: seen.count(name) for name in names} == dict.fromkeys(names, 500)


def test_a_full_disk(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        full = tmp_path  # opening a directory fails below, which says what is missing
    fd = os.open(full, os.O_WRONLY)
    lines = LineWriter(fd, report)
    lines.put(b"x")
    assert lines.close(PATIENCE)
    assert lines._dropped == 1
    os.close(fd)


def rotating(path: Path) -> LineWriter:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    return LineWriter(fd, report, str(path))


def test_a_rotated_file_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLLOW_SECONDS", 0.0)
    path, old = tmp_path / "x.log", tmp_path / "x.log.1"
    lines = rotating(path)
    for number in range(3):
        lines.put(b"before %d" % number)
        assert lines.flush(PATIENCE)
    path.rename(old)
    lines.put(b"after")
    assert lines.flush(PATIENCE)
    assert old.read_bytes() == b"before 0\nbefore 1\nbefore 2\n"
    assert path.read_bytes() == b"after\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert lines.close(PATIENCE)
    os.close(lines._fd)


def test_a_new_file_that_cannot_be_had_costs_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FOLLOW_SECONDS", 0.0)
    path, old = tmp_path / "x.log", tmp_path / "x.log.1"
    lines = rotating(path)
    path.rename(old)
    path.symlink_to(tmp_path / "elsewhere")  # of somebody who wants us to write there
    lines.put(b"still here")
    assert lines.flush(PATIENCE)
    assert old.read_bytes() == b"still here\n"
    assert not (tmp_path / "elsewhere").exists()
    assert lines.close(PATIENCE)
    os.close(lines._fd)


def test_it_does_not_look_at_every_line(tmp_path: Path) -> None:
    path, old = tmp_path / "x.log", tmp_path / "x.log.1"
    lines = rotating(path)
    path.rename(old)
    lines.put(b"within the first second")
    assert lines.flush(PATIENCE)
    assert not path.exists()
    assert lines.close(PATIENCE)
    os.close(lines._fd)
