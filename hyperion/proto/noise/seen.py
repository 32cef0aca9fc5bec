"""The ephemeral keys of clients seen before: whoever recorded a message 1 and sends it again is refused early.

Looked up before any key agreement, so a replay costs next to nothing; filled only by clients that were admitted, so
strangers, who can make a good message 1 if they know the server's key, cannot push honest ones out. What is too old to
be remembered is still stopped by the half-proof rule (WIRE Q7; security notes B32).
"""

from collections import OrderedDict

#: Keys remembered by one worker: 32 bytes each, some 400 KB in all.
MAX_EPHEMERALS = 4096


class SeenEphemerals:
    """A bounded set; the oldest is forgotten first."""

    def __init__(self, limit: int = MAX_EPHEMERALS) -> None:
        self._limit = limit
        self._keys: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, ephemeral: bytes) -> bool:
        return ephemeral in self._keys

    def add(self, ephemeral: bytes) -> None:
        """Remember the key of an admitted client."""
        self._keys[ephemeral] = None
        if len(self._keys) > self._limit:
            self._keys.popitem(last=False)
