"""Standard input and output of every kind at the ends of a stream, each in a process of its own."""

import contextlib
import os
import pty
import signal
import socket
import subprocess
import sys
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.rig import noise

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix only")

#: Bridges descriptor 3 and says how it ended on standard error.
CHILD = """
import socket, sys
from hyperion.cli.stdio import bridge, open_missing
open_missing()
stream = socket.socket(fileno=int(sys.argv[1]))
sys.stderr.write(bridge(stream).name)
"""

MUCH = noise(3_000_000)
TIMEOUT = 20


@contextlib.contextmanager
def child(stdin: int, stdout: int, *, closed: str = "") -> Iterator[tuple[subprocess.Popen[bytes], socket.socket]]:
    """The process and the far end of its stream. ``closed``: shell words that close some of its descriptors."""
    ours, theirs = socket.socketpair()
    number = theirs.fileno()
    command = [sys.executable, "-c", CHILD, str(number)]
    if closed:
        command = ["/bin/sh", "-c", f'exec "$0" "$@" {closed}', *command]
    with (
        ours,
        subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, pass_fds=[number]) as process,
    ):
        theirs.close()
        ours.settimeout(TIMEOUT)
        try:
            yield process, ours
        finally:
            process.kill()


def ending(process: subprocess.Popen[bytes]) -> str:
    assert process.stderr is not None
    said = process.stderr.read().decode()
    assert process.wait(TIMEOUT) == 0, said
    return said


def read_all(stream: socket.socket) -> bytes:
    data = bytearray()
    while more := stream.recv(1 << 16):
        data += more
    return bytes(data)


def test_pipes_both_ways_with_half_close() -> None:
    with child(subprocess.PIPE, subprocess.PIPE) as (process, stream):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"question")
        process.stdin.close()
        assert read_all(stream) == b"question"  # its end of file is here already,
        stream.sendall(b"answer")  # and the other way still open
        stream.close()
        assert process.stdout.read() == b"answer"
        assert ending(process) == "FINISHED"


def test_the_output_ends_while_the_input_goes_on() -> None:
    with child(subprocess.PIPE, subprocess.PIPE) as (process, stream):
        assert process.stdin is not None
        assert process.stdout is not None
        stream.shutdown(socket.SHUT_WR)
        assert process.stdout.read() == b""
        assert ending(process) == "FINISHED"


def test_files(tmp_path: Path) -> None:
    """A file cannot be waited for by epoll; that must not matter."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(MUCH)
    with source.open("rb") as stdin, target.open("wb") as stdout, child(stdin.fileno(), stdout.fileno()) as both:
        process, stream = both
        assert read_all(stream) == MUCH
        stream.sendall(MUCH)
        stream.close()
        assert ending(process) == "FINISHED"
    assert target.read_bytes() == MUCH


def test_one_socket_for_both() -> None:
    """As inetd does it; the end of file goes out although others have the socket, too."""
    ours, theirs = socket.socketpair()
    with ours, theirs, child(theirs.fileno(), theirs.fileno()) as (process, stream):
        ours.settimeout(TIMEOUT)
        ours.sendall(b"question")
        ours.shutdown(socket.SHUT_WR)
        assert read_all(stream) == b"question"
        stream.sendall(b"answer")
        stream.shutdown(socket.SHUT_WR)
        assert read_all(ours) == b"answer"
        assert ending(process) == "FINISHED"


def test_a_terminal_ends_with_the_stream_and_stays_blocking() -> None:
    """A person is not asked for an end of file that nobody wants."""
    ours, theirs = pty.openpty()
    try:
        with child(theirs, subprocess.PIPE) as (process, stream):
            os.write(ours, b"line\n")
            assert stream.recv(100) == b"line\n"
            stream.sendall(b"bye")
            stream.shutdown(socket.SHUT_WR)
            assert read_all(stream) == b""
            assert ending(process) == "FINISHED"
        assert os.get_blocking(theirs)
    finally:
        os.close(ours)
        os.close(theirs)


def test_pipes_that_somebody_made_non_blocking() -> None:
    in_read, in_write = os.pipe()
    out_read, out_write = os.pipe()
    os.set_blocking(in_read, False)
    os.set_blocking(out_write, False)
    with child(in_read, out_write) as (process, stream):
        os.close(in_read)
        os.close(out_write)
        os.write(in_write, b"late")
        assert stream.recv(100) == b"late"
        os.close(in_write)
        assert read_all(stream) == b""
        with open(out_read, "rb") as output:
            stream.settimeout(None)
            sender = subprocess.Popen(
                [sys.executable, "-c", "import sys; sys.stdout.buffer.write(bytes(3_000_000))"],
                stdout=stream.fileno(),
            )
            stream.close()
            assert output.read() == bytes(3_000_000)
            assert sender.wait(TIMEOUT) == 0
        assert ending(process) == "FINISHED"


def test_nobody_reads_the_output_any_more() -> None:
    with child(subprocess.PIPE, subprocess.PIPE) as (process, stream):
        assert process.stdout is not None
        process.stdout.close()
        stream.sendall(b"x")
        assert ending(process) == "READER_LEFT"


def test_a_stream_that_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
    number = near.fileno()
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(number)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=[number],
    ) as process:
        near.close()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        far.close()
        assert ending(process) == "BROKEN"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&-"])
def test_descriptors_that_are_closed_are_not_taken_for_the_stream(closed: str) -> None:
    with child(subprocess.PIPE, subprocess.PIPE, closed=closed) as (process, stream):
        assert process.stdin is not None
        process.stdin.close()
        stream.sendall(b"x")
        assert read_all(stream) == b""
        stream.close()
        assert ending(process) == "FINISHED"


def test_ctrl_c_ends_it_although_a_thread_waits_for_input() -> None:
    with child(subprocess.PIPE, subprocess.PIPE) as (process, stream):
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        assert stream.recv(1) == b"x"
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == -signal.SIGINT


@pytest.mark.parametrize(("raw", "seen"), [(False, b"one\r\ntwo\r\n"), (True, b"one\r\ntwo\r\n")])
def test_lines_begin_at_the_left_also_where_ssh_made_the_terminal_raw(raw: bool, seen: bytes) -> None:
    """A terminal that is not raw makes two characters of each line end by itself."""
    ours, theirs = pty.openpty()
    try:
        if raw:
            tty.setraw(theirs)
        code = "from hyperion.cli.stdio import tell; tell('one\\ntwo\\n')"
        subprocess.run([sys.executable, "-c", code], stderr=theirs, timeout=30, check=True)
        assert os.read(ours, 100) == seen
    finally:
        os.close(ours)
        os.close(theirs)


def test_elsewhere_lines_are_as_they_are_and_nobody_need_read_them() -> None:
    code = "from hyperion.cli.stdio import tell; tell('one\\ntwo\\n')"
    done = subprocess.run([sys.executable, "-c", code], stderr=subprocess.PIPE, timeout=30, check=True)
    assert done.stderr == b"one\ntwo\n"
    closed = f"import os; os.close(2); {code}; print('went on')"
    done = subprocess.run([sys.executable, "-c", closed], stdout=subprocess.PIPE, timeout=30, check=True)
    assert done.stdout == b"went on\n"
