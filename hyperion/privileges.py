"""How each process of ours gives up the rights it does not need.

* A supervisor that was started with rights keeps a few *permitted* and none in effect (``drop_to``), makes one
  effective for one call (``raised``), and hands some to a child that needs them (``ambient``).
* A worker gives up everything, for good (``harden_worker``).

Knows the order of the steps. The system calls are in ``capabilities``, and who the service user is in
``service_user``. Elsewhere than on Linux only core dumps are switched off.

Everything here holds for the calling thread and those started later: call it before there is a second thread.
"""

import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Iterator

from hyperion import capabilities
from hyperion.capabilities import (
    NONE,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NAME,
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    PR_SET_SECUREBITS,
    SECBIT_NOROOT,
    SECBIT_NOROOT_LOCKED,
    Capability,
    Rights,
    Sets,
    prctl,
)
from hyperion.service_user import ServiceUser

try:
    import resource
except ImportError:  # Windows has no resource limits; nothing dumps core there
    resource = None  # type: ignore[assignment]

#: Seconds that a thread which has ended may take to be gone: microseconds, or what a busy machine makes of them.
THREAD_END_SECONDS = 2.0
#: Longest process name the kernel keeps, bytes (TASK_COMM_LEN without its final zero).
MAX_PROCESS_NAME_BYTES = 15


def harden_worker() -> None:
    """No new rights, no capabilities, no core, no peeking: irrevocable, takes well under a millisecond.

    Raises ``OSError`` when the kernel refuses what it must always allow; a worker does not go on after that.
    """
    disable_core_dumps()
    if sys.platform == "linux":
        forbid_peeking()
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        capabilities.set_ambient()
        # Needs CAP_SETPCAP. Without it we hold no right that the set could bound, and no_new_privs keeps it so.
        capabilities.drop_bounding()
        capabilities.write(Sets())


def drop_to(user: ServiceUser | None, keep: Rights = NONE) -> None:
    """Becomes ``user`` (``None``: stays who it is) with the capabilities ``keep`` permitted and none in effect. For
    good; a process that the service manager started with ambient capabilities ends in the same state.

    ``keep`` stays inheritable, which ``ambient`` needs; the bounding set is emptied where CAP_SETPCAP allows it (a
    program executed later gets what ``ambient`` names, whatever the bounding set says). Raises ``PermissionError``,
    and nothing was changed, if ``keep`` is not permitted; ``RuntimeError`` if there is a second thread.
    """
    disable_core_dumps()
    if sys.platform != "linux":
        return
    _wait_for_threads()
    permitted = capabilities.read().permitted
    if not keep <= permitted:
        raise PermissionError(f"capabilities {sorted(map(int, keep - permitted))} are not permitted")
    # First, because nothing can become inheritable once the bounding set is empty.
    capabilities.write(Sets(permitted, permitted, keep))
    if Capability.SETPCAP in permitted:
        # Else every program that a user 0 executes would get what is inheritable, whatever we hand on.
        prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED)
    capabilities.drop_bounding()
    if user is not None and user.uid != os.geteuid():
        _become(user)
    capabilities.set_ambient()
    capabilities.write(Sets(NONE, keep, keep))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    forbid_peeking()


def _wait_for_threads() -> None:
    """A thread that was joined is still there for the kernel, for a moment."""
    deadline = time.monotonic() + THREAD_END_SECONDS
    while len(os.listdir("/proc/self/task")) > 1:
        if time.monotonic() >= deadline:
            raise RuntimeError("another thread would keep its rights")
        time.sleep(0.001)


def _become(user: ServiceUser) -> None:
    # Without this the kernel clears the permitted set together with user 0.
    prctl(PR_SET_KEEPCAPS, 1)
    os.setgroups(user.groups)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    prctl(PR_SET_KEEPCAPS, 0)


def held(rights: Rights) -> Rights:
    """Those of ``rights`` that are permitted."""
    return rights & capabilities.read().permitted if sys.platform == "linux" else NONE


@contextlib.contextmanager
def raised(capability: Capability) -> Iterator[None]:
    """``capability`` is in effect within the block. Raises ``PermissionError`` if it is not permitted."""
    before = capabilities.read()
    capabilities.write(before._replace(effective=before.effective | {capability}))
    try:
        yield
    finally:
        capabilities.write(before)


@contextlib.contextmanager
def ambient(rights: Rights) -> Iterator[None]:
    """A program executed within the block starts with ``rights`` in effect, whoever we are. They must be permitted.

    Raises ``PermissionError`` if they are not.
    """
    if not rights:
        yield
        return
    before = capabilities.read()
    capabilities.write(before._replace(inheritable=before.inheritable | rights))
    try:
        capabilities.set_ambient(rights)
        yield
    finally:
        capabilities.set_ambient()
        capabilities.write(before)


def forbid_peeking() -> None:
    """No process of the same user may trace us or read our memory, where keys lie. Linux only."""
    prctl(PR_SET_DUMPABLE, 0)


def disable_core_dumps() -> None:
    """A core file would hold keys. For every process of ours, also the supervisor."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def signal_on_parent_death(number: int) -> None:
    """Linux only: the kernel sends us this signal when our parent dies. A later change of user undoes it (prctl(2)).

    Raises ``OSError`` for a number that is no signal.
    """
    prctl(PR_SET_PDEATHSIG, number)


def set_process_name(name: str) -> None:
    """What ``ps`` and ``top`` show, cut to 15 bytes. Best effort: only Linux does it, and a sandbox may forbid it.

    Names the calling thread; that of the first thread is that of the process.
    """
    text = ctypes.create_string_buffer(name.encode("ascii", "replace")[:MAX_PROCESS_NAME_BYTES])
    with contextlib.suppress(OSError):
        prctl(PR_SET_NAME, ctypes.addressof(text))
