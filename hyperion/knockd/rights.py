"""Gives up every right of knockd but one: changing the firewall.

Knows ``prctl`` and ``capset``, as ``hyperion.privileges`` does for processes that keep nothing. Does not know when: the
caller has opened its packet sockets before, and has started no thread yet (rights belong to threads).

CAP_NET_ADMIN stays in the inheritable and ambient sets as well, so that an ``nft`` started by us may do what we may:
it is not root's program when we are not root. Source: capabilities(7).
"""

import ctypes
import os
import struct

from hyperion.privileges import (
    LINUX_CAPABILITY_VERSION_3,
    MAX_CAPABILITIES,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    disable_core_dumps,
)

# linux/capability.h, linux/prctl.h
CAP_NET_ADMIN = 12
PR_CAP_AMBIENT_RAISE = 2

#: ``struct __user_cap_header_struct``: version, thread (0: this one).
_HEADER = struct.Struct("=Ii")
#: Two of ``struct __user_cap_data_struct``: effective, permitted, inheritable; of capabilities 0 to 31 and the rest.
_SETS = struct.Struct("=6I")


def keep_only_net_admin() -> None:
    """For good: no capability but CAP_NET_ADMIN, no new rights, no core, no peeking.

    Raises ``OSError`` where we do not hold CAP_NET_ADMIN: without it the gate could never open.
    """
    disable_core_dumps()
    libc = ctypes.CDLL(None, use_errno=True)
    _prctl(libc, PR_SET_DUMPABLE, 0)
    _prctl(libc, PR_SET_NO_NEW_PRIVS, 1)
    _prctl(libc, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    _bound(libc)
    _keep(libc, 1 << CAP_NET_ADMIN)
    _prctl(libc, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN)


def _bound(libc: ctypes.CDLL) -> None:
    """Needs CAP_SETPCAP. Without it we may not bound, and with no_new_privs we could not get more either."""
    for capability in range(MAX_CAPABILITIES):
        present = libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1
        if present and capability != CAP_NET_ADMIN and libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            return


def _keep(libc: ctypes.CDLL, only: int) -> None:
    if libc.capset(_HEADER.pack(LINUX_CAPABILITY_VERSION_3, 0), _SETS.pack(only, only, only, 0, 0, 0)) != 0:
        raise _last_error("capset")


def _prctl(libc: ctypes.CDLL, option: int, *arguments: int) -> None:
    # The kernel checks that unused arguments are zero, as unsigned longs: ints would leave the upper halves undefined.
    filled = (*arguments, 0, 0, 0, 0)[:4]
    if libc.prctl(option, *map(ctypes.c_ulong, filled)) != 0:
        raise _last_error("prctl")


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
