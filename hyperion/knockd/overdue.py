"""Notices a call of nftables that does not come back, which nobody else can: whoever made it is waiting for it.

The program ``nft`` is killed after a while (``firewall.nft_program``), a call of libnftables cannot be broken off.
While one hangs, knocks are heard and nothing can be opened, closed or mended; so the gate is not sure. When it has hung
for very long this process ends and another one takes its place: that is the only way to break the call off.

Knows the clock and one number. Refuses to know what was asked of nftables.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from hyperion.errors import HyperionError

#: A call takes milliseconds. After so many seconds nobody new is let in until it comes back: as long as a knockd may be
#: silent (``supervisor.kind.KNOCKD_SILENCE`` and a second chance), because the table is as little guarded.
OVERDUE_SECONDS = 3.0
#: After so many seconds it will not come back.
HANG_SECONDS = 60.0
#: Seconds between looks.
LOOK_SECONDS = 0.5


class Calls(Protocol):
    """What ``LateBackend`` tells of its calls."""

    @property
    def name(self) -> str: ...
    @property
    def busy_since(self) -> float | None: ...


class NftHangsError(HyperionError):
    """A call of nftables did not come back."""

    exit_code = 75


class Overdue:
    """``tell`` is called at each change: with what is wrong, or ``None``. ``clock`` is that of ``calls``, seconds."""

    def __init__(
        self, calls: Calls, tell: Callable[[str | None], None], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._calls = calls
        self._tell = tell
        self._clock = clock
        self._told = False

    async def run(self) -> None:
        """Until cancelled. Raises ``NftHangsError``."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Raises ``NftHangsError``."""
        since = self._calls.busy_since
        waited = 0.0 if since is None else self._clock() - since
        if waited >= HANG_SECONDS:
            raise NftHangsError(
                f"{self._calls.name} did not come back within {HANG_SECONDS:g} s",
                hint="look for other programs that hold nftables",
            )
        overdue = waited >= OVERDUE_SECONDS
        if overdue != self._told:
            self._told = overdue
            text = f"{self._calls.name} has not answered for {OVERDUE_SECONDS:g} s: does another program hold nftables?"
            self._tell(text if overdue else None)
