"""``apply-firewall`` as a process in a network namespace, and the trial that it starts."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.helpers.netns import NAMES, Host
from tests.helpers.waiting import until

SERVER = str(Path(sys.executable).with_name("hyperion-server"))
#: As long as a loaded machine may take for any step.
PATIENCE = 30.0


class Applying:
    """A running ``apply-firewall``; ``out`` and ``err`` once it has ended."""

    def __init__(self, host: Host, home: Path, *arguments: str, stdin: Any = subprocess.DEVNULL) -> None:
        self.host = host
        self.directory = home / "run" / "firewall"
        self.child = host.popen(
            *(SERVER, "apply-firewall", *arguments),
            env=os.environ | {"HYPERION_HOME": str(home)},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.out = self.err = ""

    def loaded(self) -> "Applying":
        """Once the rules are in force."""
        while "the rules are in force" not in self.err:
            assert self.child.stderr is not None
            line = self.child.stderr.readline()
            assert line, f"it ended: {self.err}"
            self.err += line
        return self

    def ended(self) -> int:
        """Its exit code."""
        self.out, rest = self.child.communicate(timeout=PATIENCE)
        self.err += rest
        return int(self.child.returncode)

    def document(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def send(self, number: signal.Signals) -> None:
        """To the command alone."""
        self.child.send_signal(number)


def remove_firewall(host: Host, directory: Path) -> str:
    """``remove-firewall`` for the server whose ``server.toml`` is in ``directory``, to its good end; what it says."""
    done = subprocess.run(
        host.command(SERVER, "remove-firewall", "--config", str(directory / "server.toml")),
        env=os.environ | {"HYPERION_HOME": str(directory)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def trial_pids(host: Host) -> list[int]:
    """The trials that run in ``host``. (For a moment an nft that one of them starts bears its name.)"""
    wanted = os.stat(NAMES / host.name).st_ino
    found: dict[int, int] = {}
    for path in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            named = path.name.isdigit() and (path / "comm").read_text() == "hyp-trial\n"
            if named and os.stat(path / "ns" / "net").st_ino == wanted:
                found[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    return [pid for pid, parent in found.items() if parent not in found]


@contextlib.contextmanager
def no_trial_left(host: Host) -> Iterator[None]:
    """Whatever happened, the trials of this host have ended."""
    yield
    try:
        until(lambda: not trial_pids(host), what="a trial is still running")
    finally:
        for pid in trial_pids(host):  # not into the next test
            os.kill(pid, signal.SIGTERM)
