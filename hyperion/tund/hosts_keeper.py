"""``python -m hyperion.tund.hosts_keeper``: holds the names of servers in the hosts file, and takes them out again.

Started by the supervisor, with the control socket as descriptor 3. If it is killed, the next one, or the next client in
transparent mode, finds our part of the file by its marks. What is written, and how, is ``hyperion.hosts``'s.
"""

import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hyperion import hosts
from hyperion.privileges import harden_worker, set_process_name
from hyperion.proto.control import Message
from hyperion.proto.control_keeper import HostNames
from hyperion.tund.keeper import CONTROL_FD, Keeper


def main() -> int:
    """The exit code."""
    set_process_name("hyp-hosts")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    harden_worker()  # the file is root's, and so are we; no capability is needed
    with socket.socket(fileno=CONTROL_FD) as control:
        return Keeper(control, hold).run()


def hold(message: Message) -> Callable[[], object]:
    """Puts the names into the file; what is returned takes them out. Raises ``HyperionError``, ``TypeError``."""
    if not isinstance(message, HostNames):
        raise TypeError(type(message).__name__)
    path = Path(message.path)
    hosts.write(message.names, path)
    return partial(hosts.write, (), path)


if __name__ == "__main__":
    sys.exit(main())
