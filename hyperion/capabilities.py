"""Linux capabilities of the calling thread: which it has, and how to change that.

Knows the system calls ``capget``, ``capset`` and ``prctl`` and the five sets of capabilities(7). Refuses to know which
process should have what: that is ``privileges``. Rights belong to threads, and a new thread or process gets a copy of
those of the one that starts it.

Every function raises ``OSError`` when the kernel refuses, also on systems that are not Linux.
"""

import ctypes
import enum
import errno
import functools
import os
import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple

# prctl(2) options and capset(2) version, from linux/prctl.h and linux/capability.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
LINUX_CAPABILITY_VERSION_3 = 0x20080522

# linux/securebits.h: user 0 is a user like any other, when it executes a program, and stays so
SECBIT_NOROOT = 1 << 0
SECBIT_NOROOT_LOCKED = 1 << 1

#: Capability numbers to try: two words of 32 bits are all that ``capset`` can name. Linux 6 knows 41 of them.
MAX_CAPABILITIES = 64

#: ``struct __user_cap_header_struct``: version, thread (0: this one).
_HEADER = struct.Struct("=Ii")
#: Two of ``struct __user_cap_data_struct``: effective, permitted, inheritable; of capabilities 0 to 31 and the rest.
_SETS = struct.Struct("=6I")
_WORD = 0xFFFFFFFF


class Capability(enum.IntEnum):
    """Those that Hyperion ever uses, by their numbers in linux/capability.h."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    SETGID = 6
    SETUID = 7
    SETPCAP = 8
    NET_ADMIN = 12
    NET_RAW = 13
    BPF = 39


Rights = frozenset[int]
NONE: Rights = frozenset()


class Sets(NamedTuple):
    """``effective``: what works now. ``permitted``: what can be made effective. ``inheritable``: what a program that
    is executed may be given."""

    effective: Rights = NONE
    permitted: Rights = NONE
    inheritable: Rights = NONE


def read() -> Sets:
    """The sets of this thread."""
    data = ctypes.create_string_buffer(_SETS.size)
    _check(_libc().capget(_HEADER.pack(LINUX_CAPABILITY_VERSION_3, 0), data), "capget")
    low = _SETS.unpack(data.raw)
    return Sets(*(_from_mask(low[place] | low[place + 3] << 32) for place in range(3)))


def write(sets: Sets) -> None:
    """Gives up what is not in ``sets``. Nothing that is not permitted can be got."""
    masks = [_to_mask(rights) for rights in sets]
    data = _SETS.pack(*(mask & _WORD for mask in masks), *(mask >> 32 for mask in masks))
    _check(_libc().capset(_HEADER.pack(LINUX_CAPABILITY_VERSION_3, 0), data), "capset")


def bounding() -> Rights:
    """What any program that this thread executes can get at most."""
    return frozenset(number for number in range(MAX_CAPABILITIES) if _prctl(PR_CAPBSET_READ, number) == 1)


def drop_bounding(keep: Rights = NONE) -> bool:
    """Empties the bounding set but for ``keep``. False, and nothing is done, without CAP_SETPCAP in effect."""
    for number in bounding() - keep:
        try:
            prctl(PR_CAPBSET_DROP, number)
        except PermissionError:
            return False
    return True


def set_ambient(rights: Iterable[int] = ()) -> None:
    """Makes the ambient set ``rights``: what a program without rights of its own, executed by us, starts with.

    They must be permitted and inheritable.
    """
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    for number in rights:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)


def prctl(option: int, *arguments: int) -> None:
    """prctl(2)."""
    _check(_prctl(option, *arguments), "prctl")


def _prctl(option: int, *arguments: int) -> int:
    # The kernel checks that unused arguments are zero, as unsigned longs: ints would leave the upper halves undefined.
    filled = (*arguments, 0, 0, 0, 0)[:4]
    return int(_libc().prctl(option, *map(ctypes.c_ulong, filled)))


def _libc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "capabilities are Linux's")
    return _open_libc()


@functools.cache
def _open_libc() -> ctypes.CDLL:
    """Once: each object of this type makes a class of its own, and giving up the bounding set takes sixty calls."""
    return ctypes.CDLL(None, use_errno=True)


def _check(result: int, call: str) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def _to_mask(rights: Rights) -> int:
    return sum(1 << number for number in rights)


def _from_mask(mask: int) -> Rights:
    return frozenset(number for number in range(MAX_CAPABILITIES) if mask >> number & 1)
