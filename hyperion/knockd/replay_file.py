"""The replay memory on disk: what keeps a knock from opening the gate again after knockd was killed.

Knows a file in a runtime directory and how to read back what a predecessor wrote. Does not judge knocks
(``proto.replay`` does) and does not know the clock.

Written before the gate opens, with plain ``write``: the page cache survives any death of ours, and a knock is worth
nothing ``window`` seconds after it was sealed, which is less than a power cut takes. (``fdatasync`` would cost 0.2 ms
to 20 ms of a knock's way, by the disk.) Memory that cannot be read back is made up for by refusing old knocks:

* no file at a first start, or one that ends inside a record (its knock opened nothing: the record comes first): knocks
  sealed before this start are refused;
* no file where a predecessor of a moment ago must have left one, or anything else that is wrong: a lost knock may also
  have been sealed by a clock ahead of ours, so for ``window`` seconds nobody gets in.

Format: ``HYPR`` and a version byte, then records: length u16, CRC-32 u32, both big-endian, and msgpack of
``Remembered``, of a pair (``unknown_until`` and the window that was counted with), or of bytes: ``forgotten``, each run
as two i64, big-endian. Version 1 had no runs and is read as well: all up to the pair's end was forgotten.
"""

import contextlib
import errno
import os
import stat
import struct
import zlib
from pathlib import Path

import msgspec

from hyperion.errors import CannotCreateError, HyperionError
from hyperion.proto.replay import MAX_NONCES, Remembered, ReplayState

MAGIC = b"HYPR\x02"
OLD_MAGIC = b"HYPR\x01"
#: Longest record, bytes: a holder's name of 64 characters, a nonce, a group and a time are about 180.
MAX_RECORD_BYTES = 512
#: Below this size the file is never rewritten, bytes: 600 knocks.
MIN_LARGE_BYTES = 64 * 1024
#: A file above this is not ours, bytes: twice the fullest memory.
MAX_FILE_BYTES = 2 * MAX_NONCES * 256

#: What can be wrong with a file; the words go into logs.
MISSING = "missing"
LOST = "lost"
CUT_SHORT = "cut-short"
CORRUPT = "corrupt"
UNREADABLE = "unreadable"

_HEADER = struct.Struct(">HI")
_PRIVATE = 0o600
_FOR_OTHERS = 0o077
_WRITABLE_BY_OTHERS = 0o022
_OPEN = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC

_RUN = struct.Struct(">qq")
#: Runs in one record: with its head it stays below ``MAX_RECORD_BYTES``.
_RUNS_IN_RECORD = 31

#: ``unknown_until`` and ``window`` of a ``ReplayState``: the first record.
_Head = tuple[int, int]
_Record = Remembered | _Head | bytes
_decoder: msgspec.msgpack.Decoder[_Record] = msgspec.msgpack.Decoder(_Record)


class ReplayFileError(HyperionError):
    """A nonce could not be written down (the disk is full, ...). Its knock must not open anything."""

    exit_code = 73


class ReplayFile:
    """Open it, ``load`` and ``rewrite`` once, then ``append`` each accepted knock; ``rewrite`` when ``is_large``.

    Raises ``CannotCreateError`` when the directory or the file is not safely ours.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._directory = _open_directory(self._path.parent)
        try:
            self._fd = _open_file(self._directory, self._path)
        except BaseException:
            os.close(self._directory)
            raise
        #: What ``load`` found wrong with the file, in one of our own words; None: nothing
        self.damage: str | None = None
        self._size = 0
        self._large = MIN_LARGE_BYTES

    def load(self, now: int, window: int, *, expected: bool = False) -> ReplayState:
        """What predecessors remembered, with a refusal of old knocks for what cannot be known any more.

        ``now`` is the Unix second of this start, ``window`` the seconds that a knock may be off. ``expected``: somebody
        wrote this file a moment ago, so if it is missing, it was lost.
        """
        state, self.damage = self._read(window)
        if self.damage == MISSING and expected:
            self.damage = LOST
        unknown, forgotten = state.unknown_until, state.forgotten
        if self.damage in (MISSING, CUT_SHORT):
            unknown = max(unknown, now + state.window)
        elif self.damage is not None:
            unknown = max(unknown, now + 2 * state.window)
            # Somebody of a moment ago let knocks in that would be fresh again if the clock were set back and forth.
            forgotten += ((now, now + 2 * state.window),)
        if self.damage is not None:
            self._let_go()
        return ReplayState(unknown, state.remembered, state.window, forgotten)

    def append(self, entry: Remembered) -> None:
        """Write one accepted knock down. When this returns, no death of ours lets it in again.

        Raises ``ReplayFileError``; then nothing was written, or what was is taken back.
        """
        if self._fd is None:
            raise ReplayFileError("there is no sound file")
        record = _encode(entry)
        try:
            _write(self._fd, record)
        except OSError as error:
            self._take_back()
            raise _as_error(error) from None
        self._size += len(record)

    @property
    def is_large(self) -> bool:
        """Whether most of the file is probably about knocks that are stale by now, or there is no sound file."""
        return self._fd is None or self._size > self._large

    def rewrite(self, state: ReplayState) -> None:
        """Replace the file by one that says just ``state``. Whatever fails or dies meanwhile, one of both stays.

        Raises ``ReplayFileError``; a sound old file goes on being used then, and is not large again for a while.
        """
        records: list[_Record] = [(state.unknown_until, state.window)]
        for start in range(0, len(state.forgotten), _RUNS_IN_RECORD):
            runs = state.forgotten[start : start + _RUNS_IN_RECORD]
            records.append(b"".join(_RUN.pack(first, last) for first, last in runs))
        body = MAGIC + b"".join(map(_encode, [*records, *state.remembered]))
        try:
            fd = self._replace(f"{self._path.name}.new", body)
        except OSError as error:
            self._large = 2 * self._size
            raise _as_error(error) from None
        self._let_go()
        self._fd, self._size, self._large = fd, len(body), max(MIN_LARGE_BYTES, 2 * len(body))

    def close(self) -> None:
        """The file stays for the successor."""
        self._let_go()
        os.close(self._directory)

    def _read(self, window: int) -> tuple[ReplayState, str | None]:
        nothing = ReplayState(-1, (), window)
        if self._fd is None:
            return nothing, MISSING
        try:
            data = os.pread(self._fd, MAX_FILE_BYTES + 1, 0)
        except OSError:
            return nothing, UNREADABLE
        if not data.startswith((MAGIC, OLD_MAGIC)):
            return nothing, CUT_SHORT if MAGIC.startswith(data) else CORRUPT
        self._size = len(data)
        return _parse(data, window) if len(data) <= MAX_FILE_BYTES else (nothing, CORRUPT)

    def _replace(self, temporary: str, body: bytes) -> int:
        # One left by a death in the middle of this is in the way.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=self._directory)
        fd = os.open(temporary, _OPEN | os.O_CREAT | os.O_EXCL, _PRIVATE, dir_fd=self._directory)
        try:
            _write(fd, body)
            os.rename(temporary, self._path.name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except BaseException:
            os.close(fd)
            os.unlink(temporary, dir_fd=self._directory)
            raise
        return fd

    def _take_back(self) -> None:
        """Half a record is behind the last good one: behind it nothing could be read any more."""
        try:
            if self._fd is not None:
                os.ftruncate(self._fd, self._size)
        except OSError:
            self._let_go()

    def _let_go(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._fd = None


def _parse(data: bytes, window: int) -> tuple[ReplayState, str | None]:
    """All records before the first that is wrong, and in which way that one is. ``window``: if none was written."""
    unknown, remembered, damage = -1, list[Remembered](), None
    forgotten = list[tuple[int, int]]()
    position = len(MAGIC)
    while position < len(data):
        start = position + _HEADER.size
        length, checksum = _HEADER.unpack_from(data, position) if start <= len(data) else (0, 0)
        position = start + length
        body = data[start:position]
        if position > len(data):
            damage = CUT_SHORT if length <= MAX_RECORD_BYTES else CORRUPT
            break
        record = _decode(body) if zlib.crc32(body) == checksum else None
        if record is None:
            damage = CORRUPT
            break
        if isinstance(record, Remembered):
            remembered.append(record)
        elif isinstance(record, bytes):
            forgotten += _RUN.iter_unpack(record)
        else:
            unknown, window = record
    return ReplayState(unknown, tuple(remembered), window, tuple(forgotten)), damage


def _decode(body: bytes) -> _Record | None:
    try:
        record = _decoder.decode(body)
    except (msgspec.DecodeError, ValueError):
        return None
    return record if not isinstance(record, bytes) or _are_runs(record) else None


def _are_runs(body: bytes) -> bool:
    return len(body) % _RUN.size == 0 and all(first <= last for first, last in _RUN.iter_unpack(body))


def _encode(record: _Record) -> bytes:
    body = msgspec.msgpack.encode(record)
    return _HEADER.pack(len(body), zlib.crc32(body)) + body


def _write(fd: int, data: bytes) -> None:
    """All or ``OSError``: a full disk takes a part and says so only the next time."""
    if os.write(fd, data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _open_directory(path: Path) -> int:
    """Held open, so that nobody can put another one in its place. Only its owner may change it, or root."""
    try:
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise CannotCreateError(f"runtime directory {path}: {error.strerror}") from None
    status = os.fstat(directory)
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & _WRITABLE_BY_OTHERS:
        os.close(directory)
        raise CannotCreateError(
            f"runtime directory {path} may be changed by others", hint=f"chmod go-w {path}, owned by the service user"
        )
    return directory


def _open_file(directory: int, path: Path) -> int | None:
    try:
        fd = os.open(path.name, _OPEN | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:  # also a symbolic link (ELOOP)
        raise CannotCreateError(f"replay memory {path}: {error.strerror}") from None
    status = os.fstat(fd)
    private = status.st_uid == os.geteuid() and not status.st_mode & _FOR_OTHERS and status.st_nlink == 1
    if not (stat.S_ISREG(status.st_mode) and private):
        os.close(fd)
        raise CannotCreateError(f"replay memory {path} is not a private file of ours", hint=f"remove {path}")
    return fd


def _as_error(error: OSError) -> ReplayFileError:
    return ReplayFileError(error.strerror or type(error).__name__)
