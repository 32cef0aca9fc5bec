import socket
import sys

import pytest

from hyperion.socket_filter import DROP_ALL, RETURN, Instruction, attach, detach, lock

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")


def pair() -> tuple[socket.socket, socket.socket]:
    """A datagram socket that hears, and one that is connected to it."""
    hears = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    hears.bind(("127.0.0.1", 0))
    hears.settimeout(0.1)
    says = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    says.connect(hears.getsockname())
    return hears, says


def test_a_deaf_socket_hears_nothing_and_later_everything_again() -> None:
    hears, says = pair()
    with hears, says:
        attach(hears, DROP_ALL)
        says.send(b"one")
        with pytest.raises(TimeoutError):
            hears.recv(9)
        detach(hears)
        says.send(b"two")
        assert hears.recv(9) == b"two"


def test_as_many_bytes_are_kept_as_the_program_says() -> None:
    hears, says = pair()
    with hears, says:
        attach(hears, (Instruction(RETURN, 0, 0, 10),))  # 8 of them are the UDP header
        says.send(b"three")
        assert hears.recv(9) == b"th"


def test_a_locked_filter_stays() -> None:
    hears, says = pair()
    with hears, says:
        attach(hears, DROP_ALL)
        lock(hears)
        with pytest.raises(PermissionError):
            attach(hears, DROP_ALL)
        with pytest.raises(PermissionError):
            detach(hears)


def test_the_kernels_refusals_are_errors() -> None:
    hears, says = pair()
    with hears, says:
        with pytest.raises(OSError, match="Invalid argument"):
            attach(hears, (Instruction(0x15, 9, 9, 0),))
        with pytest.raises(FileNotFoundError):
            detach(hears)
