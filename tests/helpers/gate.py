"""A server's firewall from both sides: nftables inside a namespace, a service behind it, and who tries to get in."""

import contextlib
import errno
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from hyperion.firewall.nft import Backend, NftMissingError
from tests.helpers.netns import Host

#: The kernel repeats a lost SYN after a second: who is not in by then was dropped.
CONNECT_SECONDS = 0.4
TUNNEL_PORT = 8443

ETH_P_ALL = 3
PACKET_OUTGOING = 4
FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
#: What port scanners send, by the names of their options.
SCANS = {
    "syn": SYN,
    "ack": ACK,
    "fin": FIN,
    "null": 0,
    "xmas": FIN | PSH | URG,
    "syn-ack": SYN | ACK,
    "maimon": FIN | ACK,
}

_source_ports = itertools.cycle(range(10_000, 30_000))


@dataclass
class Inside:
    """A backend whose every call happens in ``host``."""

    host: Host
    backend: Backend

    @property
    def name(self) -> str:
        return self.backend.name

    def load(self, commands: str) -> None:
        self.host.call(lambda: self.backend.load(commands))

    def check(self, commands: str) -> None:
        self.host.call(lambda: self.backend.check(commands))

    def list_text(self, *what: str, handles: bool = False) -> str:
        return self.host.call(lambda: self.backend.list_text(*what, handles=handles))

    def list_whole(self, *what: str) -> str:
        return self.host.call(lambda: self.backend.list_whole(*what))

    def list_json(self, *what: str) -> str:
        return self.host.call(lambda: self.backend.list_json(*what))


def inside(host: Host, make: Callable[[], Backend]) -> Inside:
    """``make()`` in ``host``: libnftables opens its socket when it is made. Skips the test where it is missing."""
    try:
        return Inside(host, host.call(make))
    except NftMissingError as error:
        pytest.skip(f"needs python3-nftables: {error}")


@contextlib.contextmanager
def service(host: Host, port: int = TUNNEL_PORT) -> Iterator[None]:
    """Sends back what it gets, on IPv4 and IPv6."""
    listener = host.socket(socket.AF_INET6, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", port))
    listener.listen(128)
    threads = [threading.Thread(target=_accept, args=(listener,), daemon=True)]
    threads[0].start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        threads[0].join(5)
        listener.close()


def _accept(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection:
        try:
            while data := connection.recv(65_536):
                connection.sendall(data)
        except OSError:
            return


def connect(host: Host, address: str, port: int = TUNNEL_PORT, timeout: float = CONNECT_SECONDS) -> socket.socket:
    """A connection out of ``host``. Raises ``TimeoutError`` where nobody answers."""
    client = host.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(timeout)
    try:
        client.connect((address, port))
    except OSError:
        client.close()
        raise
    return client


def gets_in(host: Host, address: str, port: int = TUNNEL_PORT) -> bool:
    """Whether a new connection comes to be. A refusal is a failure of the test: it is an answer."""
    try:
        connect(host, address, port).close()
    except TimeoutError:
        return False
    return True


def reaches(host: Host, address: str) -> bool:
    """Whether the tunnel port of ``address`` answers, asked in a hurry, as often as one likes: the connection is reset,
    as one that ends politely keeps its source port for a minute."""
    try:
        client = connect(host, address, timeout=0.1)
    except (TimeoutError, ConnectionError):
        return False
    except OSError as error:
        if error.errno in (errno.EHOSTUNREACH, errno.EACCES):  # what ICMP says of it
            return False
        raise
    with client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return True


def tcp_packet(source: str, target: str, port: int, flags: int, source_port: int = 40_000) -> bytes:
    """A TCP header without data, for a raw socket (IPv6: the kernel fills in the checksum)."""
    head = struct.pack("!HHIIBBHHH", source_port, port, 1, 1 if flags & ACK else 0, 5 << 4, flags, 1_024, 0, 0)
    if ":" in target:
        return head
    pseudo = socket.inet_aton(source) + socket.inet_aton(target) + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(head))
    total = sum(struct.unpack(f"!{(len(pseudo) + len(head)) // 2}H", pseudo + head))
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:16] + struct.pack("!H", total) + head[18:]


def scan(host: Host, target: str, ports: list[int], flags: int) -> None:
    """One packet with these flags to each port."""
    source = host.ipv6 if ":" in target else host.ipv4
    with raw_socket(host, target) as raw:
        for port in ports:
            # A source port of its own, so that no packet belongs to what an earlier one began.
            raw.sendto(tcp_packet(source, target, port, flags, next(_source_ports)), (target, 0))


def raw_socket(host: Host, target: str) -> socket.socket:
    """Sends TCP headers to ``target``."""
    if ":" not in target:
        return host.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw = host.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_TCP)
    raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, 16)
    return raw


def udp_scan(host: Host, target: str, ports: list[int]) -> None:
    """One datagram to each port."""
    with host.socket(socket.AF_INET6 if ":" in target else socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for port in ports:
            udp.sendto(b"anybody there?", (target, port))


class Outgoing:
    """Counts the packets that leave a host for an address, whatever they are (the silence oracle)."""

    def __init__(self, host: Host) -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        self._socket.settimeout(0.05)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)

    def towards(self, address: str) -> list[bytes]:
        """The IP packets that left for ``address`` since the last call, once it has been quiet for 0.25 s."""
        wanted, found, quiet_since = socket.inet_pton(_family(address), address), [], time.monotonic()
        while time.monotonic() - quiet_since < 0.25:
            try:
                packet, (_, _, kind, *_) = self._socket.recvfrom(65_536)
            except TimeoutError:
                continue
            target = packet[16:20] if packet[0] >> 4 == 4 else packet[24:40]
            if kind == PACKET_OUTGOING and target == wanted:
                found.append(packet)
                quiet_since = time.monotonic()
        return found

    def close(self) -> None:
        self._socket.close()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
