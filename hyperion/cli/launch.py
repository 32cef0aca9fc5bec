"""How ``up`` starts a daemon and hears how that went; how a program gets rid of the environment it was started with.

A daemon is this program once more, ``run`` in a session of its own. One inherited descriptor connects the two: the
secrets that ``up`` has fetched go in (never through arguments or the environment, which ``ps`` and ``/proc`` show), and
one message comes back when the daemon is ready, or with the error that it failed with. If neither comes, it died.

Knows processes and descriptors. Refuses to know which program it starts, and what it prints.
"""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from hyperion.config import Secrets
from hyperion.errors import ChildError, HyperionError, InternalError, error_class, of_the_system
from hyperion.service_user import ServiceUser

#: Longest message on the descriptor, bytes: a few hundred variables with a PSK each.
MAX_LAUNCH_BYTES = 64 * 1024
#: Seconds that a daemon which was interrupted before it was ready has to end.
ABORT_SECONDS = 10.0

#: Variables of the service manager and of the journal that concern this process and not a daemon of its own.
NOT_INHERITED = (
    *("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "FDSTORE"),
    *("JOURNAL_STREAM", "INVOCATION_ID", "MAINPID", "SYSTEMD_EXEC_PID"),
    *("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "LOGS_DIRECTORY", "CACHE_DIRECTORY", "CONFIGURATION_DIRECTORY"),
)

_LENGTH = struct.Struct(">I")


class LaunchOrder(msgspec.Struct, frozen=True, kw_only=True):
    """To the daemon. ``runtime``: its directory; ``answers``: whether somebody waits to hear how it went.

    ``replaces``: the directory of the one that it is to end first; ``at_once``: without letting its streams finish.
    """

    secrets: dict[str, dict[str, str]]
    runtime: str
    log_path: str | None = None
    answers: bool = True
    replaces: str | None = None
    at_once: bool = False

    def __repr__(self) -> str:
        return "LaunchOrder(hidden)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("runtime", self.runtime)]


class Launched(msgspec.Struct, frozen=True, tag="launched"):
    """From the daemon: it serves. ``listen``: where; ``user``: whom root became; ``warning``: what would be better."""

    pid: int
    listen: list[str]
    user: str | None = None
    warning: str | None = None


class LaunchFailed(msgspec.Struct, frozen=True, tag="failed"):
    """From the daemon: it does not, and why."""

    message: str
    hint: str | None
    exit_code: int


class Launch:
    """The daemon's side. ``order`` is what it was told."""

    def __init__(self, fd: int) -> None:
        """Reads the order from the inherited descriptor. Raises ``InternalError`` if there is none."""
        self._fd = fd
        try:
            os.set_inheritable(fd, False)
            self.order = _read(fd, LaunchOrder)
        except (OSError, EOFError, msgspec.DecodeError):
            raise InternalError("--launch-fd is for up only") from None

    def ready(self, listen: Sequence[str], user: ServiceUser | None = None) -> None:
        """It serves, as ``user`` if root started it."""
        who = (None, None) if user is None else (user.name, user.warning)
        self._answer(Launched(os.getpid(), list(listen), *who))

    @contextlib.contextmanager
    def reporting(self) -> Iterator[None]:
        """Whatever ends the block before ``ready`` was called is told to ``up``."""
        try:
            yield
        except HyperionError as error:
            self._answer(LaunchFailed(error.message, error.hint, error.exit_code))
            raise
        except Exception as error:
            known = of_the_system(error) if isinstance(error, OSError) else None
            failure = known or InternalError(f"internal error: {type(error).__name__}", hint="see its log")
            self._answer(LaunchFailed(failure.message, failure.hint, failure.exit_code))
            raise
        finally:
            self._close()

    def _answer(self, message: Launched | LaunchFailed) -> None:
        if self._fd >= 0 and self.order.answers:
            with contextlib.suppress(OSError):  # nobody waits any more
                _write(self._fd, message)
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def launch(
    program: str, arguments: Sequence[str], order: LaunchOrder, log_fd: int, environ: Mapping[str, str]
) -> Launched:
    """Starts ``program`` (``server`` or ``client``) as a daemon; returns when it is ready.

    ``log_fd`` becomes its standard output and error, ``environ`` its environment, ``/dev/null`` its standard input.
    Raises the error that it failed with, or ``ChildError`` if it died without a word. Ctrl-C ends it, too, and is
    raised on; but one that replaces another goes on, because without it none would serve.
    """
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            command = [sys.executable, "-P", "-m", "hyperion.cli", program, *arguments]
            child = subprocess.Popen(  # noqa: S603 - our own program
                [*command, "--launch-fd", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                env=dict(environ),
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            with contextlib.suppress(OSError):  # it died at once: reading tells
                _write(ours.fileno(), order)
            answer: Launched | LaunchFailed = _read(ours.fileno(), Launched | LaunchFailed)
        except (EOFError, OSError, msgspec.DecodeError):
            raise ChildError(
                f"hyperion-{program} died before it was ready ({_ending(child)})", hint="see its log"
            ) from None
        except KeyboardInterrupt:
            if order.replaces is None:
                child.terminate()
                _ending(child)
            else:
                child.returncode = 0
            raise
    if isinstance(answer, LaunchFailed):
        _ending(child)
        raise error_class(answer.exit_code)(answer.message, hint=answer.hint)
    # It is on its own now: nobody waits for it here, and that is no mistake.
    child.returncode = 0
    return answer


def clean_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment without what is for this process only. Secrets that were fetched are gone from it already."""
    environ = os.environ if environ is None else environ
    return {name: value for name, value in environ.items() if name not in NOT_INHERITED}


def restart_without_secrets(secrets: Secrets, runtime: Path) -> None:
    """If a secret came in the environment: becomes the same program once more, without it. Else returns.

    The kernel shows the environment that a process was started with for the whole of its life, whatever the process
    does with its copy; only another ``execve`` ends that. The process id stays, and so does everything that a service
    manager knows of us.
    """
    if not secrets.taken or not hasattr(os, "pipe2"):
        return
    reader, writer = os.pipe()
    order = LaunchOrder(secrets=secrets.export(), runtime=str(runtime), answers=False)
    body = msgspec.msgpack.encode(order)
    if len(body) > MAX_LAUNCH_BYTES - _LENGTH.size:  # it would not fit into the pipe, and nobody reads yet
        os.close(reader)
        os.close(writer)
        return
    os.write(writer, _LENGTH.pack(len(body)) + body)
    os.close(writer)
    os.set_inheritable(reader, True)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execve(sys.executable, [*sys.orig_argv, "--launch-fd", str(reader)], dict(os.environ))  # noqa: S606 - ourselves


def _ending(child: "subprocess.Popen[bytes]") -> str:
    """How it ended; it is made to, if it does not."""
    try:
        code = child.wait(ABORT_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name


def _write(fd: int, message: msgspec.Struct) -> None:
    body = msgspec.msgpack.encode(message)
    data = _LENGTH.pack(len(body)) + body
    while data:
        data = data[os.write(fd, data) :]


def _read(fd: int, kind: Any) -> Any:
    (length,) = _LENGTH.unpack(_exactly(fd, _LENGTH.size))
    if length > MAX_LAUNCH_BYTES:
        raise EOFError
    return msgspec.msgpack.decode(_exactly(fd, length), type=kind)


def _exactly(fd: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        if not (part := os.read(fd, count - len(data))):
            raise EOFError
        data += part
    return data
