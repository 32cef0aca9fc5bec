"""Somebody else at the gate's table, and who notices from outside that it is away."""

import contextlib
import struct
import threading
import time

from hyperion.firewall.ruleset import Ruleset, ruleset_text
from tests.helpers.gate import RST, SYN, TUNNEL_PORT, raw_socket, tcp_packet
from tests.helpers.netns import Host

#: Nobody listens there: a host without its table answers with a reset.
CLOSED_PORT = 7

#: What is done to the table, in nft's language.
MEDDLING = {
    "flush ruleset": "flush ruleset",
    "delete table": "delete table inet hyperion",
    "flush table": "flush table inet hyperion",
    "rule added": "insert rule inet hyperion input accept",
    "rules replaced": "flush chain inet hyperion input\nadd rule inet hyperion input accept",
    "the same table anew": f"flush ruleset\n{ruleset_text(Ruleset(TUNNEL_PORT))}",
    "policy": "flush chain inet hyperion input\nadd chain inet hyperion input { policy accept; }",
}


class Probe:
    """Knocks at a closed port a thousand times a second; each answer is a moment of exposure."""

    def __init__(self, attacker: Host, server: Host) -> None:
        self._attacker, self._server = attacker, server
        self._raw = raw_socket(attacker, server.ipv4)
        self._stop = threading.Event()
        self.answered_at: list[float] = []
        self._threads = [threading.Thread(target=self._send), threading.Thread(target=self._receive)]

    def __enter__(self) -> "Probe":
        self._raw.settimeout(0.05)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(5)
        self._raw.close()

    def _send(self) -> None:
        port = 30_000
        while not self._stop.wait(0.001):
            port = port + 1 if port < 60_000 else 30_000
            packet = tcp_packet(self._attacker.ipv4, self._server.ipv4, CLOSED_PORT, SYN, port)
            self._raw.sendto(packet, (self._server.ipv4, 0))

    def _receive(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                packet = self._raw.recv(2_000)
                tcp = packet[(packet[0] & 15) * 4 :]
                if struct.unpack("!H", tcp[:2])[0] == CLOSED_PORT and tcp[13] & RST:
                    self.answered_at.append(time.monotonic())
