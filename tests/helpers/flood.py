"""Many packets a second that look like knocks and are none, from one host to the gate of another."""

import subprocess
import sys

from tests.helpers.knockd_process import PORT
from tests.helpers.netns import Host

#: target, port, packets a second, seconds -> how many were sent
_PROGRAM = """
import socket, sys, time
target, port, rate, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((target, port))
began, sent = time.monotonic(), 0
while (now := time.monotonic() - began) < seconds:
    for _ in range(min(500, int(now * rate) - sent)):
        sock.send(b"HVPK" + bytes(40))
        sent += 1
    time.sleep(0)
print(sent)
"""


class Flood:
    """``rate`` packets a second for ``seconds``, as far as the machine can. An answer ends it with an error."""

    def __init__(self, host: Host, target: str, rate: int, seconds: float) -> None:
        command = (sys.executable, "-c", _PROGRAM, target, str(PORT), str(rate), str(seconds))
        self._process = host.popen(*command, stdout=subprocess.PIPE, text=True)

    @property
    def runs(self) -> bool:
        """Whether it goes on."""
        return self._process.poll() is None

    def sent(self) -> int:
        """Packets, once it has ended."""
        out, _ = self._process.communicate(timeout=60)
        return int(out)
