"""Filters of sockets: which packets the kernel queues for one, and which vanish without an answer.

Knows classic BPF programs as values, and how to hang one on a socket. Refuses to know what a program looks for
(``knockd.bpf``) and why a socket should be deaf (``supervisor.shutter``). Linux only. Attaching needs CAP_NET_ADMIN on
Linux 6.18 (measured) and nothing on older ones; detaching needs nothing.

Source: linux/filter.h, asm-generic/socket.h.
"""

import ctypes
import socket
import struct
from typing import NamedTuple

# Socket options. The socket module does not know them.
SO_ATTACH_FILTER = 26
SO_DETACH_FILTER = 27
SO_LOCK_FILTER = 44

#: The one instruction that every program ends with: how many bytes of the packet are kept.
RETURN = 0x06


class Instruction(NamedTuple):
    """``struct sock_filter``; jumps count the instructions to skip."""

    code: int
    if_true: int
    if_false: int
    k: int


Program = tuple[Instruction, ...]

_INSTRUCTION = struct.Struct("=HBBI")

#: Lets nothing through. What is read after it was attached had arrived before.
DROP_ALL: Program = (Instruction(RETURN, 0, 0, 0),)


def attach(sock: socket.socket, program: Program) -> None:
    """From now on the kernel queues for ``sock`` only what ``program`` lets through. Raises ``OSError``."""
    code = b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)
    memory = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a count and a pointer, aligned as the compiler does it; the kernel copies what it points to.
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(memory)))


def detach(sock: socket.socket) -> None:
    """Everything passes again. Raises ``OSError`` if there is no filter, or it is locked."""
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)


def lock(sock: socket.socket) -> None:
    """Nobody changes or removes the filter of ``sock`` any more, whoever takes over this process."""
    sock.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
