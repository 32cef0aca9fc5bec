"""Reading, with a socket made up. The kernel's side is tests/e2e/test_capture.py."""

import errno
import socket
import struct
from typing import Any, cast

import pytest

from hyperion.knockd import capture
from hyperion.knockd.capture import CaptureSocket

Received = tuple[bytes, list[tuple[int, int, bytes]], int, tuple[Any, ...]]


class FakeSocket:
    def __init__(self, *received: Received | OSError, statistics: tuple[tuple[int, int], ...] = ()) -> None:
        self._received = list(received)
        self._statistics = list(statistics)
        self.closed = False

    def recvmsg(self, size: int, ancillary: int) -> Received:
        if not self._received:
            raise BlockingIOError
        item = self._received.pop(0)
        if isinstance(item, OSError):
            raise item
        return item

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert (level, option) == (capture.SOL_PACKET, capture.PACKET_STATISTICS)
        return struct.pack("=II", *self._statistics.pop(0))

    def fileno(self) -> int:
        return -1 if self.closed else 7

    def close(self) -> None:
        self.closed = True


def packet(
    data: bytes = b"packet", *, status: int | None = 0, kind: int = socket.PACKET_HOST, flags: int = 0
) -> Received:
    aux = struct.pack("=IIIHHHH", status or 0, 6, 6, 0, 0, 0, 0)
    ancillary = [] if status is None else [(capture.SOL_PACKET, capture.PACKET_AUXDATA, aux)]
    return data, ancillary, flags, ("eth0", capture.ETH_P_IP, kind, 1, b"")


def read(sock: FakeSocket, limit: int = 10) -> tuple[int, list[tuple[bytes, bool]]]:
    heard: list[tuple[bytes, bool]] = []
    count = CaptureSocket(cast("socket.socket", sock)).read(lambda *item: heard.append(item), limit)
    return count, heard


def test_all_that_waits_is_handed_on() -> None:
    assert read(FakeSocket(packet(b"1"), packet(b"2"))) == (2, [(b"1", True), (b"2", True)])
    assert read(FakeSocket()) == (0, [])


def test_but_not_more_than_the_limit() -> None:
    sock = FakeSocket(*[packet(b"%d" % number) for number in range(5)])
    assert read(sock, 3) == (3, [(b"0", True), (b"1", True), (b"2", True)])
    assert read(sock, 3)[0] == 2


@pytest.mark.parametrize(("status", "complete"), [(0, True), (1, True), (8, False), (9, False), (None, True)])
def test_a_checksum_left_to_hardware_is_told(status: int | None, complete: bool) -> None:
    assert read(FakeSocket(packet(status=status))) == (1, [(b"packet", complete)])


@pytest.mark.parametrize("kind", [1, 2, 3, 4])
def test_other_packet_types_are_left_out(kind: int) -> None:
    assert read(FakeSocket(packet(b"other", kind=kind), packet())) == (2, [(b"packet", True)])


def test_cut_packets_are_left_out() -> None:
    assert read(FakeSocket(packet(b"cut", flags=socket.MSG_TRUNC), packet())) == (2, [(b"packet", True)])


def test_trouble_is_passed_on() -> None:
    with pytest.raises(OSError, match="down") as caught:
        read(FakeSocket(packet(), OSError(errno.ENETDOWN, "down")))
    assert caught.value.errno in capture.TRANSIENT


def test_drops_add_up() -> None:
    # the kernel counts from the last question on
    sock = CaptureSocket(cast("socket.socket", FakeSocket(statistics=((9, 2), (0, 0), (5, 3)))))
    assert [sock.dropped() for _ in range(3)] == [2, 2, 5]


def test_closing() -> None:
    sock = CaptureSocket(cast("socket.socket", FakeSocket()))
    assert sock.fileno() == 7
    sock.close()
    sock.close()
    assert sock.fileno() == -1
