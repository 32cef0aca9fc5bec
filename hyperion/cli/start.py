"""How a serving process was started: by hand, by a service manager, by ``up`` as its daemon, or by itself once more.

Knows where secrets come from in each case, where the operator's desk is, and who wants to hear that it is ready.
Refuses to know what is served.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hyperion import log
from hyperion.cli.down import LABELS, stop
from hyperion.cli.launch import Launch
from hyperion.cli.loading import terminal_prompt
from hyperion.config import Secrets
from hyperion.errors import BadKeyError, HyperionError, InternalError, TemporaryError, UsageError, of_the_system
from hyperion.events import SERVICE_FAILED
from hyperion.paths import Program, runtime_directory
from hyperion.running import TITLES, Running, holder, terminate, wait_until_gone
from hyperion.service_user import ServiceUser
from hyperion.supervisor.desk import DeskPlace

#: Longest line read from ``--passphrase-fd``, bytes.
MAX_PASSPHRASE_BYTES = 4_096
#: Seconds that the kernel may take to end a process that was killed.
KILL_SECONDS = 5.0

#: Becomes the same program without what it was started with (``launch.restart_without_secrets``), if there is need.
Restart = Callable[[Secrets, Path], None]


class Start:
    """One start. ``launch_fd``: the descriptor that ``up`` handed over, if it did."""

    def __init__(
        self,
        program: Program,
        config_file: Path | None,
        *,
        launch_fd: int | None = None,
        passphrase_fd: int | None = None,
        alone: bool = False,
    ) -> None:
        """``alone``: another program with the same configuration is an error. Raises ``HyperionError``."""
        self._launch = None if launch_fd is None else Launch(launch_fd)
        order = None if self._launch is None else self._launch.order
        self.secrets = Secrets(terminal_prompt() if order is None else None)
        if order is not None:
            self.secrets.restore(order.secrets)
        if passphrase_fd is not None:
            self.secrets.give(read_passphrase(passphrase_fd))
        self.runtime = runtime_directory(program, config_file) if order is None else Path(order.runtime)
        self._program = program
        self.log_path = None if order is None else order.log_path
        self.is_daemon = order is not None and order.answers
        self.desk = DeskPlace(self.runtime, required=alone or self.is_daemon)

    def loaded(self, restart: Restart | None) -> None:
        """The configuration was read: nobody is asked any more, and nothing of it stays in the environment."""
        self.secrets.stop_asking()
        if restart is not None:
            restart(self.secrets, self.runtime)

    def make_room(self) -> None:
        """Ends the program that this one replaces, if it does; at the latest when its streams had their time.

        One that hangs is killed: it was told to end, and would do so as soon as it woke, with nobody behind it.
        """
        order = None if self._launch is None else self._launch.order
        if order is None or order.replaces is None:
            return
        directory = Path(order.replaces)
        if (pid := holder(directory)) is None:  # it has ended by itself
            return
        old = Running(directory, pid or None)
        for now in dict.fromkeys((order.at_once, True)):
            try:
                stop(old, LABELS["server"], now=now)
            except TemporaryError:
                continue
            return
        if not terminate(directory, signal.SIGKILL) or not wait_until_gone(directory, KILL_SECONDS):
            raise TemporaryError(
                f"hyperion-server (pid {old.pid}) cannot be ended", hint="end it, then: hyperion-server up"
            )

    def ready(self, listen: Sequence[str], user: ServiceUser | None = None) -> None:
        """It serves, as ``user`` if root started it."""
        if self._launch is not None:
            self._launch.ready(listen, user)

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """What ends the block before it was ready is told to whoever started us."""
        if self._launch is None:
            yield
            return
        try:
            with self._launch.reporting():
                yield
        except Exception as error:
            if not self.is_daemon:
                raise
            # Standard error is its log, which has one JSON object a line: no line for people in between.
            raise SystemExit(_log_the_end(self._program, error)) from error


def _log_the_end(program: Program, error: Exception) -> int:
    """The exit code. The program's own log may not have begun yet, or be closed already."""
    known = of_the_system(error) if isinstance(error, OSError) else error
    code = known.exit_code if isinstance(known, HyperionError) else InternalError.exit_code
    log.configure(TITLES[program], format="json")
    log.event(SERVICE_FAILED, log.error_fields(error) | {"process.exit_code": code})
    log.close()
    return code


def read_passphrase(fd: int) -> str:
    """The first line that comes from the descriptor, which is closed. Raises ``UsageError`` or ``BadKeyError``."""
    try:
        with os.fdopen(fd, "rb") as file:
            line = file.readline(MAX_PASSPHRASE_BYTES + 1)
    except OSError:
        raise UsageError(f"--passphrase-fd {fd}: there is no such open descriptor") from None
    if len(line) > MAX_PASSPHRASE_BYTES:
        raise BadKeyError(f"--passphrase-fd {fd}: the line has more than {MAX_PASSPHRASE_BYTES} bytes")
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError:
        raise BadKeyError(f"--passphrase-fd {fd}: the passphrase is not UTF-8") from None
