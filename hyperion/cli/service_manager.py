"""Whether systemd keeps one of the programs, and how it is asked to start and stop it.

Knows where units lie and the few verbs of ``systemctl``. Only root's programs are the system's: somebody with a
configuration of his own, in his home or with ``HYPERION_HOME`` or ``--config``, has a daemon of his own.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from hyperion.cli.output import say
from hyperion.errors import ChildError
from hyperion.paths import Program, is_root, system_config

#: Exists where systemd is process 1: sd_booted(3).
BOOTED = Path("/run/systemd/system")
#: Where units lie, the administrator's first: systemd.unit(5).
UNIT_DIRECTORIES = (Path("/etc/systemd/system"), Path("/usr/local/lib/systemd/system"), Path("/usr/lib/systemd/system"))

#: Seconds that ``systemctl`` may take: more than TimeoutStopSec= of the units, and a start with five tries.
SYSTEMCTL_TIMEOUT = 180.0


class Unit(NamedTuple):
    """A unit of ours that systemd knows."""

    name: str
    systemctl: str

    def is_active(self) -> bool:
        """Whether it runs, or is about to."""
        done = self._call("is-active", "--quiet")
        return done.returncode == 0

    def start(self, *, dry_run: bool) -> int:
        """Starts it; returns when it is ready. Raises ``ChildError``."""
        return self._order("start", dry_run=dry_run)

    def stop(self, *, dry_run: bool) -> int:
        """Stops it; returns when it has ended. Raises ``ChildError``."""
        return self._order("stop", dry_run=dry_run)

    def restart(self, *, dry_run: bool) -> int:
        """Stops it and starts it again, which goes on if the caller is cut off. Raises ``ChildError``."""
        return self._order("restart", dry_run=dry_run)

    def _order(self, verb: str, *, dry_run: bool) -> int:
        if dry_run:
            say(f"would run: systemctl {verb} {self.name}")
            return 0
        say(f"systemctl {verb} {self.name}")
        done = self._call(verb)
        if done.returncode != 0:
            raise ChildError(
                f"systemctl {verb} {self.name} failed: {_first_line(done.stderr)}",
                hint=f"its last words: journalctl -u {self.name} -n 20",
            )
        return 0

    def _call(self, *verb: str) -> "subprocess.CompletedProcess[str]":
        command = [self.systemctl, *verb, self.name]
        try:
            return subprocess.run(  # noqa: S603 - the system's own program, found on the path of root
                command, capture_output=True, text=True, timeout=SYSTEMCTL_TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired:
            raise ChildError(f"{' '.join(command)} did not end within {SYSTEMCTL_TIMEOUT:g} s") from None


def managed(program: Program, config_file: Path | None) -> Unit | None:
    """The unit that is responsible for what the caller means; ``None`` if that is a daemon of its own."""
    if not is_root() or os.environ.get("HYPERION_HOME") or not BOOTED.is_dir():
        return None
    if config_file is not None and Path(os.path.realpath(config_file)) != system_config(program):
        return None
    systemctl = shutil.which("systemctl")
    name = f"hyperion-{program}.service"
    if systemctl is None or not any((directory / name).exists() for directory in UNIT_DIRECTORIES):
        return None
    return Unit(name, systemctl)


def could_keep_it() -> bool:
    """Whether root has started a daemon by hand where systemd runs, which would start it again at each boot."""
    return is_root() and not os.environ.get("HYPERION_HOME") and BOOTED.is_dir()


def _first_line(text: str) -> str:
    """The rest is advice on where to look, which our hint gives too."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "no reason given"
