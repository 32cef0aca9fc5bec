"""eBPF, the programs that the kernel runs for others: how one is written down, and the system call that hands it over.

Knows the few instructions that ``shortcut_program`` is made of, with jumps to names, and maps from bytes to bytes.
Refuses to know what a program is for.

Making maps and loading programs takes CAP_BPF, and CAP_NET_ADMIN for programs that see packets (Linux 5.8). A map that
is open takes changes from whoever holds its descriptor (Linux 5.19; older ones want the right again, where eBPF is
for those with rights only). Every function raises ``OSError`` where the kernel refuses or has no eBPF.

Source: linux/bpf.h; RFC 9669, the instruction set.
"""

import ctypes
import errno
import functools
import os
import platform
import struct
import sys
from typing import Final

# Commands of bpf(2).
MAP_CREATE, MAP_UPDATE_ELEM, MAP_DELETE_ELEM, PROG_LOAD = 0, 2, 3, 5
MAP_TYPE_HASH: Final = 1
PROG_TYPE_SCHED_CLS: Final = 3
#: Memory for what is in a map, and not for what might be.
F_NO_PREALLOC: Final = 1

# Operation codes: class, size or source, mode or operation. Registers are 0 to 10; 10 points behind the stack.
LOAD_BYTE, LOAD_HALF, LOAD_WORD = 0x71, 0x69, 0x61
STORE_HALF, STORE_WORD = 0x6B, 0x63
STORE_HALF_VALUE, STORE_WORD_VALUE = 0x6A, 0x62
MOVE, MOVE_VALUE, MOVE_WORD_VALUE, ADD_VALUE, AND_VALUE = 0xBF, 0xB7, 0xB4, 0x07, 0x57
SWAP_HALF: Final = 0xDC  # to the order of the network, in place; its value is the width, 16
JUMP, IF_EQUAL, IF_NOT_EQUAL, IF_ABOVE = 0x05, 0x15, 0x55, 0x2D
IF_REGISTERS_DIFFER: Final = 0x5D
CALL, EXIT = 0x85, 0x95
_LOAD_IMMEDIATE: Final = 0x18
#: Source of a ``_LOAD_IMMEDIATE`` whose value is the descriptor of a map.
_PSEUDO_MAP_FD: Final = 1

# Functions of the kernel that a program may call, linux/bpf.h.
MAP_LOOKUP_ELEM, SKB_STORE_BYTES, L4_CSUM_REPLACE, REDIRECT = 1, 9, 11, 23

#: bpf(2) by kind of machine, where the order of bytes is little-endian: the two register numbers of an instruction
#: share a byte, and lie there the other way round elsewhere.
_CALL_NUMBERS: Final = {"x86_64": 321, "aarch64": 280}

_INSTRUCTION: Final = struct.Struct("<BBhi")
#: ``union bpf_attr``, as much of it as is used here; the kernel takes any length whose rest is zero.
_ATTRIBUTE_BYTES: Final = 128
#: What our programs call is open to programs of every licence; the kernel wants to be told one all the same.
_LICENSE: Final = b"GPL"


class Assembly:
    """A program in the making: instructions one after the other, and names for places to jump to."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int, int]] = []
        self._places: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def add(self, code: int, to: int = 0, source: int = 0, *, offset: int = 0, value: int = 0) -> None:
        """One instruction. ``value`` is 32 bits, with or without a sign."""
        self._code.append((code, to, source, offset, value))

    def jump(self, code: int, place: str, left: int = 0, right: int = 0, *, value: int = 0) -> None:
        """To ``place``, which may be named later; with a condition, on ``left`` and ``right`` or ``value``."""
        self._jumps.append((len(self._code), place))
        self.add(code, left, right, value=value)

    def place(self, name: str) -> None:
        """The next instruction is called ``name``."""
        self._places[name] = len(self._code)

    def load_map(self, to: int, descriptor: int) -> None:
        """The map of this descriptor. Takes two instructions, as all values of 64 bits do."""
        self.add(_LOAD_IMMEDIATE, to, _PSEUDO_MAP_FD, value=descriptor)
        self.add(0)

    def assemble(self) -> bytes:
        """The program. Raises ``KeyError`` for a jump to a place that has no name."""
        offsets = {number: self._places[place] - number - 1 for number, place in self._jumps}
        return b"".join(
            _INSTRUCTION.pack(code, to | source << 4, offsets.get(number, offset), _signed(value))
            for number, (code, to, source, offset, value) in enumerate(self._code)
        )


def _signed(value: int) -> int:
    return value - (1 << 32) if value >= 1 << 31 else value


def create_map(key_bytes: int, value_bytes: int, max_entries: int) -> int:
    """An empty hash table; its descriptor, not inherited."""
    return _call(MAP_CREATE, struct.pack("=IIIII", MAP_TYPE_HASH, key_bytes, value_bytes, max_entries, F_NO_PREALLOC))


def put(descriptor: int, key: bytes, value: bytes) -> None:
    """Enters ``key``, or gives it another value. E2BIG: the map is full."""
    memory = _Memory(key, value)
    _call(MAP_UPDATE_ELEM, struct.pack("=IxxxxQQQ", descriptor, *memory.addresses, 0))


def remove(descriptor: int, key: bytes) -> bool:
    """Whether ``key`` was there."""
    memory = _Memory(key)
    try:
        _call(MAP_DELETE_ELEM, struct.pack("=IxxxxQ", descriptor, *memory.addresses))
    except FileNotFoundError:
        return False
    return True


def load_program(code: bytes, name: str) -> int:
    """A program for packets (SCHED_CLS) that the kernel has found harmless; its descriptor, not inherited.

    EINVAL or EACCES: the kernel's judge thinks otherwise.
    """
    memory = _Memory(code, _LICENSE + b"\0")
    instructions, licence = memory.addresses
    head = struct.pack("=IIQQ", PROG_TYPE_SCHED_CLS, len(code) // _INSTRUCTION.size, instructions, licence)
    # log level, size and buffer; kernel version, flags: none of them. Then what tools call it.
    return _call(PROG_LOAD, head + struct.pack("=IIQII16s", 0, 0, 0, 0, 0, name.encode()[:15]))


class _Memory:
    """Bytes that stay where they are while this object lives."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = [ctypes.create_string_buffer(part, len(part)) for part in parts]

    @property
    def addresses(self) -> list[int]:
        return [ctypes.addressof(part) for part in self._parts]


def _call(command: int, attribute: bytes) -> int:
    """bpf(2); descriptors that it makes close themselves when a program is executed."""
    number = _CALL_NUMBERS.get(platform.machine()) if sys.platform == "linux" else None
    if number is None:
        raise OSError(errno.ENOSYS, "no eBPF here")
    memory = ctypes.create_string_buffer(attribute, _ATTRIBUTE_BYTES)
    call = _libc().syscall
    result = int(call(ctypes.c_long(number), ctypes.c_int(command), memory, ctypes.c_uint(_ATTRIBUTE_BYTES)))
    if result < 0:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure))
    return result


@functools.cache
def _libc() -> ctypes.CDLL:
    """Once: each object of this type makes a class of its own, and a server of many ports takes thousands of calls."""
    return ctypes.CDLL(None, use_errno=True)
