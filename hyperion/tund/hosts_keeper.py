"""``python -m hyperion.tund.hosts_keeper``: holds the names of servers in the hosts file, and takes them out again.

Started by the supervisor, with the control socket as descriptor 3. A process of its own, so that a supervisor that is
killed leaves no names behind: the end of the control channel means "undo". If this one is killed, the next one, or the
next client in transparent mode, finds the part by its marks.

Knows the order of a life. What is written, and how, is ``hyperion.hosts``'s.
"""

import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from hyperion import hosts
from hyperion.errors import HyperionError
from hyperion.framing import FrameReader, encode
from hyperion.privileges import harden_worker, set_process_name
from hyperion.proto.control import PULSE_SECONDS
from hyperion.proto.control_keeper import Fault, HostNames, Pulse, Ready, Stop, SupervisorToKeeper

CONTROL_FD = 3
EXIT_OK = 0
EXIT_BUG = 70


def main() -> int:
    """The exit code."""
    set_process_name("hyp-hosts")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    harden_worker()  # the file is root's, and so are we; no capability is needed
    with socket.socket(fileno=CONTROL_FD) as control:
        return Keeper(control).run()


class Keeper:
    """``run`` returns the exit code, with our part of the file gone."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._reader = FrameReader(msgspec.msgpack.Decoder(SupervisorToKeeper))
        self._undo: Callable[[], object] = lambda: None
        self._held = False

    def run(self) -> int:
        """Until told to stop, or the supervisor is gone or breaks the rules."""
        try:
            code = self._hold()
        except HyperionError as error:
            text = str(error) if error.hint is None else f"{error} (hint: {error.hint})"
            self._say(Fault(text, error.exit_code))
            code = error.exit_code
        try:
            self._undo()
        except HyperionError:
            return EXIT_BUG
        return code

    def _hold(self) -> int:
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
                self._write(message)
            if self._reader.error is not None:
                return EXIT_BUG

    def _write(self, message: HostNames) -> None:
        path = Path(message.path)
        self._undo = lambda: hosts.write((), path)
        hosts.write(message.names, path)
        if not self._held:
            self._held = True
            self._say(Ready(os.getpid()))

    def _say(self, message: Ready | Pulse | Fault) -> None:
        try:
            self._control.sendall(encode(message))
        except OSError:
            return  # it is gone; the next read says so, too


if __name__ == "__main__":
    sys.exit(main())
