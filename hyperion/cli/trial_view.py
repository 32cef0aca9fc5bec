"""What a person sees of a trial: what is in force, what is waited for, how long.

On a terminal one line counts down; elsewhere each thing is said once. All of it on standard error: standard output is
the result's.
"""

import math
import time

import click

from hyperion.proto.control import Message
from hyperion.proto.trial import Loaded, Seen

_ERASE = "\r\x1b[K"


class TrialView:
    """``terminal``: whether standard error is one that can overwrite a line. ``silent``: say nothing."""

    def __init__(self, *, terminal: bool, silent: bool = False) -> None:
        self._terminal = terminal
        self._silent = silent
        self._until: float | None = None
        self._seen: dict[str, list[str]] = {"knock": [], "session": []}
        #: Whether a server tells who comes.
        self.server = False
        self._line = ""

    def show(self, message: Message) -> None:
        """What the trial said. The verdict is not shown here, only what was on the screen before it is ended."""
        match message:
            case Loaded():
                self._until = time.monotonic() + message.seconds
                self.server = message.server
                self._loaded(message)
            case Seen(source=source, what=what):
                self._seen[what].append(source)
                if not self._terminal:
                    self._say(f"{what} from {source}")
            case _:
                self._until = None
                self._wipe()
        self.tick()

    def sources(self, what: str) -> list[str]:
        """Who came so far with a ``knock``, or with a ``session`` that was no proof."""
        return list(self._seen[what])

    def tick(self) -> None:
        """Called now and then: the clock goes on."""
        if self._until is None or not self._terminal or self._silent:
            return
        left = max(0, math.ceil(self._until - time.monotonic()))
        seen = "   ".join(f"{what}: {', '.join(sources) or 'not yet'}" for what, sources in self._seen.items())
        line = f"  {left:3d} s left   {seen}"
        if line != self._line:
            click.echo(f"{_ERASE}{line}", err=True, nl=False, color=True)
            self._line = line

    def _loaded(self, message: Loaded) -> None:
        self._say(f"the rules are in force, and go in {message.seconds:g} s unless somebody gets in:")
        if message.strangers:
            self._say(
                f"warning: {message.strangers} open connections are not known to conntrack: they hang until this host"
                " sends something on them"
            )
        if message.server:
            self._say("  from your own machine:  hyperion-client doctor    (its knock is the proof)")
        else:
            self._say(f"  ({message.reason})")
        self._say("  or from a new login:    sudo hyperion-server confirm-firewall")

    def _say(self, text: str) -> None:
        if not self._silent:
            self._wipe()
            click.echo(text, err=True)

    def _wipe(self) -> None:
        if self._line:
            click.echo(_ERASE, err=True, nl=False, color=True)
            self._line = ""
