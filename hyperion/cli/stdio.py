"""Standard input and output at the ends of a stream: what ``nc`` does once it has one.

Knows descriptors of every kind: pipes, sockets, terminals, files, devices, blocking or not. Two threads with blocking
calls, because a file cannot be waited for, and because setting a descriptor to non-blocking would do so for whoever
shares it (the shell's terminal). Refuses to know where the stream leads. Imports little: ssh waits for it.
"""

import contextlib
import enum
import os
import select
import socket
import threading

try:
    import termios
except ImportError:  # Windows
    termios = None  # type: ignore[assignment]

#: Bytes read at once: large, so that the work for each byte is nothing.
READ_BYTES = 256 * 1024

STDIN = 0
STDOUT = 1
STDERR = 2


def tell(text: str) -> None:
    """Lines on standard error; whoever closed it need not hear.

    ssh puts the terminal that it shares with us into raw mode, where a line does not begin at the left by itself.
    """
    if _is_raw(STDERR):
        text = text.replace("\n", "\r\n")
    with contextlib.suppress(OSError):
        os.write(STDERR, text.encode("utf-8", "backslashreplace"))


def _is_raw(descriptor: int) -> bool:
    try:
        return termios is not None and not termios.tcgetattr(descriptor)[1] & termios.OPOST
    except (OSError, termios.error):
        return False


class End(enum.Enum):
    """Why standard output got no more."""

    FINISHED = enum.auto()  # the stream's end of file, and it was handed on
    BROKEN = enum.auto()  # the stream was reset
    READER_LEFT = enum.auto()  # nobody reads standard output any more


def open_missing() -> None:
    """Standard descriptors that somebody closed are opened on nothing: else a socket would get such a number, and be
    read as if it were the input."""
    for descriptor in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:  # the lowest free number, so it always is
                os.dup2(null, descriptor)
                os.close(null)


def bridge(stream: socket.socket) -> End:
    """Everything from standard input to ``stream`` and back, until the stream says its end.

    Input goes on after that in a thread of its own, until its own end or the stream's: half-close is kept both ways.
    """
    sender = threading.Thread(target=_send, args=(stream,), daemon=True, name="stdin")
    sender.start()
    end = _receive(stream)
    if end is End.FINISHED:
        _close_output()
        if os.isatty(STDIN):
            # A person would have to type into nothing until an end of file; programs hear theirs and go.
            finish(stream)
    return end


def finish(stream: socket.socket) -> None:
    """Nothing more will be sent; it may be over already."""
    with contextlib.suppress(OSError):
        stream.shutdown(socket.SHUT_WR)


def _send(stream: socket.socket) -> None:
    buffer = memoryview(bytearray(READ_BYTES))
    try:
        while size := _read(buffer):
            stream.sendall(buffer[:size])
    except OSError:  # the other side has ended the stream, and says how elsewhere
        return
    finish(stream)


def _receive(stream: socket.socket) -> End:
    buffer = memoryview(bytearray(READ_BYTES))
    while True:
        try:
            size = stream.recv_into(buffer)
        except OSError:
            return End.BROKEN
        if size == 0:
            return End.FINISHED
        try:
            _write_all(buffer[:size])
        except BrokenPipeError:
            return End.READER_LEFT


def _read(buffer: memoryview) -> int:
    """0 at the end; a terminal that hung up, or an input that cannot be read, has ended."""
    while True:
        try:
            return os.readv(STDIN, [buffer])
        except BlockingIOError:
            _wait(STDIN, select.POLLIN)
        except OSError:
            return 0


def _write_all(data: memoryview) -> None:
    """Raises ``BrokenPipeError`` if nobody reads any more, ``OSError`` for a full disk."""
    while data:
        try:
            data = data[os.write(STDOUT, data) :]
        except BlockingIOError:
            _wait(STDOUT, select.POLLOUT)
        except ConnectionResetError:  # a socket's word for it
            raise BrokenPipeError from None


def _wait(descriptor: int, what: int) -> None:
    """Somebody else made it non-blocking."""
    poll = select.poll()
    poll.register(descriptor, what)
    poll.poll()


def _close_output() -> None:
    """Hands the end of file on. A socket is shut down, as another process may have it, too."""
    with contextlib.suppress(OSError):
        sock = socket.socket(fileno=os.dup(STDOUT))
        with sock:
            sock.shutdown(socket.SHUT_WR)
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, STDOUT)
    os.close(null)
