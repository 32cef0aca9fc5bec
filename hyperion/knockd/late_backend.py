"""nftables that may not be installed yet: looked for at each call until it is found.

A host without it gets a knockd that hears, refuses and says what is missing, instead of one that dies and is started
again for ever; and one that works the moment the package is there.
"""

from collections.abc import Callable

from hyperion.firewall.nft import Backend


class LateBackend:
    """Forwards to what ``find`` finds. Every call raises ``NftMissingError`` as long as that does."""

    def __init__(self, find: Callable[[], Backend]) -> None:
        self._find = find
        self._found: Backend | None = None

    @property
    def name(self) -> str:
        """Of what was found."""
        return "none" if self._found is None else self._found.name

    def load(self, commands: str) -> None:
        """See ``Backend``."""
        self._backend().load(commands)

    def check(self, commands: str) -> None:
        """See ``Backend``."""
        self._backend().check(commands)

    def list_text(self, *what: str, handles: bool = False) -> str:
        """See ``Backend``."""
        return self._backend().list_text(*what, handles=handles)

    def list_json(self, *what: str) -> str:
        """See ``Backend``."""
        return self._backend().list_json(*what)

    def _backend(self) -> Backend:
        if self._found is None:
            self._found = self._find()
        return self._found
