"""What a trial knows, on disk: for the command that outlives its trial, and for the next one if both were killed.

A directory that only its owner may enter, and not the server's own: that one belongs to the service user, and root
writes nothing where somebody else can lay links. The lock in it is held by whoever runs a trial or undoes one, and the
kernel lets go of it when that process dies: so a record whose lock is free belongs to nobody, and is to be undone.
"""

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from hyperion.errors import CannotCreateError, TemporaryError, reason_of
from hyperion.paths import absolute
from hyperion.trial.plan import Snapshot

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_RECORD, _LOCK = "trial.json", "lock"
#: Where those who confirm find the trial.
CONFIRM_SOCKET = "confirm.sock"


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``boot``: the kernel's word for this run of the machine; ``taken_at`` counts its seconds. ``namespace``: the
    network whose rules these are."""

    boot: str
    namespace: str
    taken_at: float
    table: str
    before: str | None
    ruleset: str

    @property
    def snapshot(self) -> Snapshot:
        """What to go back to."""
        return Snapshot(self.table, self.before, self.ruleset)

    @property
    def elapsed(self) -> float:
        """Seconds since it was taken."""
        return max(0.0, time.monotonic() - self.taken_at)

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Record":
        """Taken now."""
        return cls(_boot(), _namespace(), time.monotonic(), snapshot.table, snapshot.before, snapshot.ruleset)


class BusyError(TemporaryError):
    """Somebody else tries a ruleset, or undoes one."""

    def __init__(self) -> None:
        super().__init__("another trial of the firewall is running", hint="wait until it is over")


def trial_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Where the record, the lock and the socket are; the same for every command of one user."""
    environ = os.environ if environ is None else environ
    if home := environ.get("HYPERION_HOME"):
        return absolute(Path(home, "run", "firewall"))
    if os.geteuid() == 0:
        return Path("/run/hyperion-firewall")
    return Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}", "hyperion-firewall")


class RecordFile:
    """The record below ``directory``, which is made if there is none. Raises ``CannotCreateError`` where it cannot be,
    or is open to others."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = directory.lstat()
        except OSError as error:
            raise CannotCreateError(f"cannot make {directory}: {reason_of(error)}") from None
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise CannotCreateError(f"{directory} is not ours alone", hint="it must be a directory of ours, mode 0700")

    @property
    def confirm_socket(self) -> Path:
        """Of the trial that runs, if one does."""
        return self.directory / CONFIRM_SOCKET

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else has it meanwhile. Raises ``BusyError``."""
        descriptor = os.open(self.directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise BusyError from None
        finally:
            os.close(descriptor)

    def write(self, record: Record) -> None:
        """Whole or not at all. Raises ``CannotCreateError``."""
        new = self.directory / f"{_RECORD}.new"
        try:
            with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(msgspec.json.encode(record))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self.directory / _RECORD)
        except OSError as error:
            why = reason_of(error)
            raise CannotCreateError(f"cannot save the rules that are loaded: {new}: {why}") from None

    def read(self) -> Record | None:
        """The one that is there, if its rules are these of today: not of another boot, and not of another network."""
        try:
            record = msgspec.json.decode((self.directory / _RECORD).read_bytes(), type=Record)
        except (FileNotFoundError, msgspec.DecodeError):
            return None
        return record if (record.boot, record.namespace) == (_boot(), _namespace()) else None

    def remove(self) -> None:
        """It has served. Twice does no harm."""
        (self.directory / _RECORD).unlink(missing_ok=True)


def _boot() -> str:
    return _BOOT.read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/thread-self/ns/net")
