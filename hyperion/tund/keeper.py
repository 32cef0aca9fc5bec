"""A child that holds a change to this machine and takes it back at its end, whatever ends it.

It is a process of its own so that a supervisor that is killed leaves nothing behind: the end of the control channel
means "undo". Knows the order of a life. What is held, and how, is handed in.
"""

import os
import select
import socket
from collections.abc import Callable

import msgspec

from hyperion.errors import HyperionError
from hyperion.framing import FrameReader, encode
from hyperion.proto.control import PULSE_SECONDS, Message
from hyperion.proto.control_keeper import Fault, Pulse, Ready, Stop, SupervisorToKeeper

CONTROL_FD = 3
EXIT_OK = 0
EXIT_BUG = 70


class Keeper:
    """``run`` returns the exit code, with everything undone.

    ``hold`` is given each order but ``Stop`` and does it, in place of the one before; it returns what undoes it. It
    raises ``HyperionError``, and ``TypeError`` for an order that is not its business.
    """

    def __init__(self, control: socket.socket, hold: Callable[[Message], Callable[[], object]]) -> None:
        self._control = control
        self._hold = hold
        self._reader = FrameReader(msgspec.msgpack.Decoder(SupervisorToKeeper))
        self._undo: Callable[[], object] = lambda: None
        self._ready = False

    def run(self) -> int:
        """Until told to stop, or the supervisor is gone or breaks the rules."""
        try:
            code = self._obey()
        except HyperionError as error:
            self._say(Fault(error.message, error.exit_code, error.hint))
            code = error.exit_code
        except TypeError:
            code = EXIT_BUG
        try:
            self._undo()
        except HyperionError:
            return EXIT_BUG
        return code

    def _obey(self) -> int:
        while True:
            if not select.select([self._control], [], [], PULSE_SECONDS)[0]:
                self._say(Pulse())
                continue
            try:
                data = self._control.recv(65_536)
            except OSError:
                data = b""
            if not data:
                return EXIT_OK
            for message in self._reader.receive_data(data):
                if isinstance(message, Stop):
                    return EXIT_OK
                self._undo = self._hold(message)
                if not self._ready:
                    self._ready = True
                    self._say(Ready(os.getpid()))
            if self._reader.error is not None:
                return EXIT_BUG

    def _say(self, message: Ready | Pulse | Fault) -> None:
        try:
            self._control.sendall(encode(message))
        except OSError:
            return  # it is gone; the next read says so, too
