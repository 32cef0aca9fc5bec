"""``python -m hyperion.tund.hosts_keeper``: holds the names of servers in the hosts file, and takes them out again.

Started by the supervisor, with the control socket as descriptor 3. If it is killed, the next one, or the next client in
transparent mode, finds our part of the file by its marks. What is written, and how, is ``hyperion.hosts``'s.
"""

import contextlib
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hyperion import hosts, privileges
from hyperion.capabilities import Capability, Rights
from hyperion.privileges import set_process_name
from hyperion.proto.control import Message
from hyperion.proto.control_keeper import HostNames
from hyperion.tund.keeper import CONTROL_FD, Keeper

#: To write beside a file of another user, and to give it what was written.
FOREIGN_FILE: Rights = frozenset({Capability.DAC_OVERRIDE, Capability.CHOWN})


def main() -> int:
    """The exit code."""
    set_process_name("hyp-hosts")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    privileges.drop_to(None, privileges.held(FOREIGN_FILE))  # none if we are the file's owner
    with socket.socket(fileno=CONTROL_FD) as control:
        return Keeper(control, hold).run()


def hold(message: Message) -> Callable[[], object]:
    """Puts the names into the file; what is returned takes them out. Raises ``HyperionError``, ``TypeError``."""
    if not isinstance(message, HostNames):
        raise TypeError(type(message).__name__)
    path = Path(message.path)
    _write(message.names, path)
    return partial(_write, (), path)


def _write(names: hosts.Names, path: Path) -> None:
    """With the rights that we have, in effect for this one change. Raises what ``hosts.write`` raises."""
    with contextlib.ExitStack() as stack:
        for right in privileges.held(FOREIGN_FILE):
            stack.enter_context(privileges.raised(Capability(right)))
        hosts.write(names, path)


if __name__ == "__main__":
    sys.exit(main())
