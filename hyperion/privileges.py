"""Gives up rights, for good: what a process that talks to strangers must not be able to do.

Knows Linux's ``prctl`` and ``capset``. Does not know users: a worker of a supervisor run by root stays user 0, but
without a single capability (it still owns root's files; the service user that ends this comes from the service manager,
or from a supervisor that drops before it starts workers). Elsewhere than on Linux only core dumps are switched off.

Everything here holds for the calling thread and those started later: call it before there is a second thread.
"""

import ctypes
import os
import sys

try:
    import resource
except ImportError:  # Windows has no resource limits; nothing dumps core there
    resource = None  # type: ignore[assignment]

# prctl(2) options and capset(2) version, from linux/prctl.h and linux/capability.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
LINUX_CAPABILITY_VERSION_3 = 0x20080522

#: Capability numbers to try: two words of 32 bits are all that ``capset`` can name. Linux 6 knows 41 of them.
MAX_CAPABILITIES = 64

#: Longest process name the kernel keeps, bytes (TASK_COMM_LEN without its final zero).
MAX_PROCESS_NAME_BYTES = 15


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def harden_worker() -> None:
    """No new rights, no capabilities, no core, no peeking: irrevocable, takes well under a millisecond.

    Raises ``OSError`` when the kernel refuses what it must always allow; a worker does not go on after that.
    """
    disable_core_dumps()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        # Not dumpable also means that no process of the same user may trace us or read our memory, where keys lie.
        _prctl(libc, PR_SET_DUMPABLE, 0)
        _prctl(libc, PR_SET_NO_NEW_PRIVS, 1)
        _prctl(libc, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
        _drop_bounding_set(libc)
        _clear_capabilities(libc)


def disable_core_dumps() -> None:
    """A core file would hold keys. For every process of ours, also the supervisor."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def signal_on_parent_death(number: int) -> None:
    """Linux only: the kernel sends us this signal when our parent dies. A later change of user undoes it (prctl(2)).

    Raises ``OSError`` for a number that is no signal.
    """
    _prctl(ctypes.CDLL(None, use_errno=True), PR_SET_PDEATHSIG, number)


def set_process_name(name: str) -> None:
    """What ``ps`` and ``top`` show, cut to 15 bytes. Best effort: only Linux has the file, and a sandbox may forbid it.

    Call it before ``harden_worker``: the files of a process that is not dumpable belong to root.
    """
    try:
        with open("/proc/self/comm", "wb") as comm:
            comm.write(name.encode("ascii", "replace")[:MAX_PROCESS_NAME_BYTES])
    except OSError:
        return


def _drop_bounding_set(libc: ctypes.CDLL) -> None:
    """Needs CAP_SETPCAP. Without it we hold no right that the set could bound, and no_new_privs keeps it so."""
    for capability in range(MAX_CAPABILITIES):
        present = libc.prctl(PR_CAPBSET_READ, capability, 0, 0, 0)
        if present == 1 and libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            return


def _clear_capabilities(libc: ctypes.CDLL) -> None:
    header = _CapHeader(LINUX_CAPABILITY_VERSION_3, 0)
    nothing = (_CapData * 2)()
    if libc.capset(ctypes.byref(header), ctypes.byref(nothing)) != 0:
        raise _last_error("capset")


def _prctl(libc: ctypes.CDLL, option: int, argument: int) -> None:
    # The kernel checks that unused arguments are zero, as unsigned longs: ints would leave the upper halves undefined.
    if libc.prctl(option, *map(ctypes.c_ulong, (argument, 0, 0, 0))) != 0:
        raise _last_error("prctl")


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
