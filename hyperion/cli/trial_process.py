"""Starts a trial, listens to it, and takes its place if it dies.

The trial (``hyperion.trial``) is the owner of the way back, and ends it at our end of file. The other way round holds
too: when it ends without a verdict, we roll back from the record that it left.
"""

import asyncio
import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from hyperion.channel import FrameReader, encode
from hyperion.firewall.nft_program import NftProgram
from hyperion.proto.control import Message
from hyperion.proto.trial import Abandon, Committed, Failed, Order, RolledBack, TrialToCommand
from hyperion.trial.guardian import roll_back
from hyperion.trial.record import BusyError, RecordFile
from hyperion.trial.server import ServerWitness

#: Seconds between two looks at the clock.
TICK_SECONDS = 0.25
#: Seconds that a dead trial's lock may take to be free.
LOCK_PATIENCE = 5.0
#: What the trial may know of our environment. It is to be as little dependent on it as can be.
ENVIRONMENT = ("LANG", "LC_ALL", "TZ")

Verdict = Committed | RolledBack | Failed


def run_trial(order: Order, show: Callable[[Message], None], tick: Callable[[], None]) -> tuple[Verdict, bool]:
    """Runs it to its end: the verdict, and whether Ctrl-C ended it. ``show`` gets every message, ``tick`` is called now
    and then.

    Raises what ``recover`` raises, if the trial died.
    """
    ours, theirs = socket.socketpair()
    with ours, _interruptible(ours) as interrupt:
        with theirs:
            process = _start(theirs)
        ours.sendall(encode(order))
        interrupt.arm()
        verdict = _listen(ours, show, tick)
    process.wait()
    if verdict is None:
        file = RecordFile(Path(order.directory))
        verdict = recover(file, ServerWitness(Path(order.server_directory)), "trial-died") or Failed(
            "the trial died before it changed anything", "run it again", 70
        )
    return verdict, interrupt.pressed


class _Interrupt:
    """A Ctrl-C asks the trial to roll back, once, and never ends this program: it has to hear how that went."""

    def __init__(self, sock: socket.socket) -> None:
        self.pressed = False
        self._sock = sock
        self._armed = False

    def press(self, *_: object) -> None:
        """The handler of SIGINT."""
        if not self.pressed:
            self.pressed = True
            self._ask()

    def arm(self) -> None:
        """The trial has its order: from now on it can be asked."""
        self._armed = True
        if self.pressed:
            self._ask()

    def _ask(self) -> None:
        if self._armed:
            with contextlib.suppress(OSError):  # it has just ended
                self._sock.send(encode(Abandon()))


@contextlib.contextmanager
def _interruptible(sock: socket.socket) -> Iterator[_Interrupt]:
    interrupt = _Interrupt(sock)
    before = signal.signal(signal.SIGINT, interrupt.press)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)


def recover(file: RecordFile, witness: ServerWitness, reason: str) -> RolledBack | None:
    """Undo what a trial that was killed left behind; ``None``: there is nothing.

    Raises ``BusyError`` while a trial is alive, ``NftMissingError``.
    """
    deadline = time.monotonic() + LOCK_PATIENCE if reason == "trial-died" else 0.0
    while True:
        try:
            with file.locked():
                record = file.read()
                if record is None:
                    return None
                return asyncio.run(roll_back(NftProgram(), witness, file, record, reason))
        except BusyError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.05)


def _start(control: socket.socket) -> "subprocess.Popen[bytes]":
    number = control.fileno()
    return subprocess.Popen(  # noqa: S603  (our own interpreter and module, no shell)
        # -I: neither the environment nor the current directory decides which code runs with our rights.
        [sys.executable, "-I", "-m", "hyperion.trial", str(number)],
        pass_fds=(number,),
        # Not our session: what ends it, a terminal that is gone, does not end the trial.
        start_new_session=True,
        cwd="/",
        env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _listen(sock: socket.socket, show: Callable[[Message], None], tick: Callable[[], None]) -> Verdict | None:
    """Until the verdict, or the trial's end."""
    reader: FrameReader[TrialToCommand] = FrameReader(msgspec.msgpack.Decoder(TrialToCommand))
    while data := _receive(sock, tick):
        for message in reader.receive_data(data):
            show(message)
            if isinstance(message, Committed | RolledBack | Failed):
                return message
    return None


def _receive(sock: socket.socket, tick: Callable[[], None]) -> bytes:
    while not select.select([sock], [], [], TICK_SECONDS)[0]:
        tick()
    with contextlib.suppress(ConnectionResetError):
        return sock.recv(65_536)
    return b""
