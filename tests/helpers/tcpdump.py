"""tcpdump at a device of a namespace, and what it says of the checksums of all that it saw.

A sum is ``CORRECT``, ``WRONG``, or ``OPEN``: where the kernel may leave sums to the device (TUN_F_CSUM), the field
holds the part over the addresses only (CHECKSUM_PARTIAL) until somebody finishes it, and nobody has to on a device
whose packets go no further. tcpdump is not told which packets these are and calls their sums incorrect. So what it
calls incorrect is open if the field holds just that part, which is summed up here from what tcpdump printed; else it is
wrong.
"""

import re
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto

from tests.helpers.netns import Host
from tests.helpers.packets import checksum

#: KiB of the kernel's ring: all packets of a test, should tcpdump not get on.
RING_KIB = 64 * 1024
PATIENCE_SECONDS = 30.0

# To the end of the packet's own line: an ICMP error shows, below it, the packet that it is about.
# "IP (tos 0x0, ..., proto TCP (6), length 60)", the next line: "10.99.0.1.34228 > 10.99.0.10.443: Flags [S], ..."
_IPV4 = re.compile(r"IP \(.*?, proto (\w+) \((\d+)\), length (\d+)(, bad cksum .*?!)?\)\s+(\S+) > (\S+): (.*)")
# "IP6 (..., next-header TCP (6) payload length: 40) fd68::1.34228 > fd68::a.443: Flags [S], ..."
_IPV6 = re.compile(r"IP6 \(.*?, next-header (\S+) \((\d+)\) payload length: (\d+)\) (\S+) > (\S+): (.*)")
# "cksum 0x14ff (incorrect -> 0x41ba)", "[bad udp cksum 0x154e -> 0xff40!]"
_INCORRECT = re.compile(r"cksum 0x([0-9a-f]+) (?:\(incorrect )?->")
_SAYS_CORRECT = {"TCP": "(correct)", "UDP": "[udp sum ok]", "ICMPv6": "[icmp6 sum ok]"}
_SAYS_NOTHING_BUT = {"ICMP": "(wrong icmp cksum"}


class Verdict(Enum):
    """On the checksums of a packet."""

    CORRECT = auto()
    OPEN = auto()
    WRONG = auto()


@dataclass(frozen=True)
class Judged:
    """A packet. ``size``: of the whole packet, bytes; ``text``: all that tcpdump printed."""

    version: int
    protocol: str
    size: int
    verdict: Verdict
    text: str


def judge(text: str) -> Judged:
    """Reads what ``tcpdump -t -n -vv`` printed for one packet. Raises ``AssertionError`` for what it cannot read."""
    if (found := _IPV4.match(text)) is not None:
        protocol, number, length, bad_header, source, destination, own = found.groups()
        version, size, payload = 4, int(length), int(length) - 20
    else:
        found = _IPV6.match(text)
        assert found is not None, text
        protocol, number, length, source, destination, own = found.groups()
        version, size, payload, bad_header = 6, int(length) + 40, int(length), None
    if bad_header:
        verdict = Verdict.WRONG
    elif (incorrect := _INCORRECT.search(own)) is not None:
        part = _addresses_part(source, destination, int(number), payload)
        verdict = Verdict.OPEN if int(incorrect[1], 16) == part else Verdict.WRONG
    elif protocol in _SAYS_NOTHING_BUT:
        verdict = Verdict.WRONG if _SAYS_NOTHING_BUT[protocol] in own else Verdict.CORRECT
    else:
        assert _SAYS_CORRECT[protocol] in own, text
        verdict = Verdict.CORRECT
    return Judged(version, protocol, size, verdict, text)


def _addresses_part(source: str, destination: str, protocol: int, length: int) -> int:
    """What the field of a sum that is left open holds: addresses, protocol and length, not complemented."""
    packed = b""
    for end in (source, destination):
        address = end.rpartition(".")[0]  # the port is written behind a dot, in IPv6 too
        packed += socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    return checksum(packed + struct.pack(">HH", protocol, length)) ^ 0xFFFF


class Tcpdump:
    """``tcpdump -vv`` at ``device``, for the length of the block; ``packets`` is there after it.

    ``end``: an address whose packets go into the device and that the test itself leaves alone. A last datagram to it
    says that everything before it was seen.
    """

    def __init__(self, host: Host, device: str, end: str) -> None:
        self.packets: list[Judged] = []
        self._host = host
        self._end = (end, 9)
        self._lines: list[str] = []
        self._over = threading.Event()
        self._child = host.popen(
            *("tcpdump", "-i", device, "-t", "-n", "-vv", "-l", "-B", str(RING_KIB)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> "Tcpdump":
        assert self._child.stderr is not None
        assert "listening on" in self._child.stderr.readline()
        self._thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        with self._host.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._end)
        seen = self._over.wait(PATIENCE_SECONDS)
        self._child.send_signal(signal.SIGINT)
        self._thread.join(PATIENCE_SECONDS)
        if kind is None:
            assert self._child.stderr is not None
            assert seen, self._lines
            assert "\n0 packets dropped by kernel" in self._child.stderr.read()
            self.packets = [judge(text) for text in self._texts()]

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._lines.append(line)
            if f"> {self._end[0]}.{self._end[1]}:" in line:
                self._over.set()

    def _texts(self) -> Iterator[str]:
        """Packet by packet: only the first line of each begins at the margin. Without the last datagram."""
        text = ""
        for line in self._lines:
            if not line[0].isspace() and text:
                yield text
                text = ""
            text += line
            if f"> {self._end[0]}." in line:
                return
