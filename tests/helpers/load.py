"""Traffic that can be held in mid-transfer, and a port that is asked without pause.

What a test wants to happen "under load" happens while each transfer is known to be far from its end: a transfer goes a
part of its way, waits, and goes on with all others at the moment the test chooses.
"""

import os
import socket
import threading
from collections.abc import Callable

from bench import bulk
from bench.bulk import Address, Transfer
from tests.helpers.program import PATIENCE

MIB = 1024 * 1024

#: More than all sockets and windows on the way can hold (tcp_wmem and tcp_rmem: 4 + 6 MiB at most on each of the local
#: connections), so that a held transfer is not secretly done.
TRANSFER_BYTES = 32 * MIB

#: Where a transfer waits.
HELD_BYTES = 2 * MIB

#: Seconds between two questions to a port.
ASK_INTERVAL = 0.005

#: The ways to move bytes.
MOVES: tuple[Callable[..., Transfer], ...] = (bulk.download, bulk.upload)


class Held:
    """One transfer with its hash compared, held at ``HELD_BYTES`` until ``go`` is set."""

    def __init__(self, move: Callable[..., Transfer], address: Address, go: threading.Event) -> None:
        self.error: Exception | None = None
        self._move, self._address, self._go = move, address, go
        self._waiting = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait_held(self) -> None:
        """Raises what ended it before."""
        assert self._waiting.wait(PATIENCE), "the transfer did not begin"
        if self.error is not None:
            raise self.error

    def outcome(self) -> str:
        """``equal`` (all arrived and the hashes are the same) or the name of what was raised."""
        self._thread.join(2 * PATIENCE)
        assert not self._thread.is_alive(), "the transfer did not end"
        return "equal" if self.error is None else type(self.error).__name__

    def _run(self) -> None:
        try:
            self._move(self._address, TRANSFER_BYTES, hashed=True, progress=self._hold)
        except (OSError, bulk.TransferError) as error:
            self.error = error
        self._waiting.set()

    def _hold(self, moved: int) -> None:
        if moved >= HELD_BYTES and not self._waiting.is_set():
            self._waiting.set()
            if not self._go.wait(PATIENCE):
                raise bulk.TransferError("nobody let it go on")


class Asker:
    """Connects to a port again and again, from the beginning of the block to its end; one refusal is a failure."""

    def __init__(self, port: int) -> None:
        self.answers = 0
        self.failures: list[str] = []
        self._port = port
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Asker":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._enough.set()
        self._thread.join(PATIENCE)

    def _run(self) -> None:
        while not self._enough.wait(ASK_INTERVAL):
            try:
                socket.create_connection(("127.0.0.1", self._port), PATIENCE).close()
                self.answers += 1
            except ConnectionResetError:
                self.answers += 1  # taken, and then lost with its process before we looked: the port did answer
            except OSError as error:
                self.failures.append(os.strerror(error.errno) if error.errno else str(error))


def first_answer(address: Address) -> bytes | str:
    """What a new connection is told after it said something: a byte, ``b""`` for an end, or ``"reset"``."""
    try:
        # With a timeout, connect itself may already report the reset that follows.
        with socket.create_connection(address, PATIENCE) as connection:
            connection.sendall(b"?")
            return connection.recv(1)
    except ConnectionResetError:
        return "reset"
