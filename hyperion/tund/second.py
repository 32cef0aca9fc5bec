"""The second interpreter of tund: ``python -m hyperion.tund.second FD TABLE NAME IPV4 IPV6``, executed by ``__main__``.

FD is the descriptor of the device, TABLE that of the shortcut's map, NAME the device's name, IPV4 and IPV6 its own
addresses (empty: there is none). The control socket is descriptor 3. Knows how to begin and to end; the work is
``pump``'s.
"""

import os
import signal
import socket
import sys

from hyperion.framing import encode
from hyperion.privileges import harden_worker, set_process_name
from hyperion.proto.control_tund import DeviceMade, Ready
from hyperion.tund.pump import Pump
from hyperion.tund.shortcut import Shortcut

CONTROL_FD = 3

PROCESS_NAME = "hyp-tund"


def main(words: list[str]) -> int:
    """The exit code."""
    set_process_name(PROCESS_NAME)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    harden_worker()  # again: whether a process may be looked into is forgotten at an exec
    device, table, name, ipv4, ipv6 = words
    packed4 = socket.inet_pton(socket.AF_INET, ipv4) if ipv4 else None
    packed6 = socket.inet_pton(socket.AF_INET6, ipv6) if ipv6 else None
    with socket.socket(fileno=CONTROL_FD) as control:
        for descriptor in (control.fileno(), int(device), *([int(table)] if table else [])):
            os.set_inheritable(descriptor, False)
        shortcut = Shortcut(int(table) if table else None)
        own = tuple(address for address in (ipv4, ipv6) if address)
        control.sendall(encode(Ready(os.getpid())) + encode(DeviceMade(name, own, shortcut.works)))
        return Pump(int(device), control, packed4, packed6, shortcut).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
