"""nftables that may not be installed yet: looked for at each call until it is found.

A host without it gets a knockd that hears, refuses and says what is missing, instead of one that dies and is started
again for ever; and one that works the moment the package is there.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

from hyperion.firewall.nft import Backend


class LateBackend:
    """Forwards to what ``find`` finds. Every call raises ``NftMissingError`` as long as that does."""

    def __init__(self, find: Callable[[], Backend], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._clock = clock
        self._found: Backend | None = None
        #: When the call began that is under way, by ``clock``; ``None``: there is none. There is never more than one.
        self.busy_since: float | None = None

    @property
    def name(self) -> str:
        """Of what was found; before that, of what is looked for."""
        return "nftables" if self._found is None else self._found.name

    def load(self, commands: str) -> None:
        """See ``Backend``."""
        with self._call() as backend:
            backend.load(commands)

    def check(self, commands: str) -> None:
        """See ``Backend``."""
        with self._call() as backend:
            backend.check(commands)

    def list_text(self, *what: str, handles: bool = False) -> str:
        """See ``Backend``."""
        with self._call() as backend:
            return backend.list_text(*what, handles=handles)

    def list_whole(self, *what: str) -> str:
        """See ``Backend``."""
        with self._call() as backend:
            return backend.list_whole(*what)

    def list_json(self, *what: str) -> str:
        """See ``Backend``."""
        with self._call() as backend:
            return backend.list_json(*what)

    @contextlib.contextmanager
    def _call(self) -> Iterator[Backend]:
        self.busy_since = self._clock()
        try:
            if self._found is None:
                self._found = self._find()
            yield self._found
        finally:
            self.busy_since = None
