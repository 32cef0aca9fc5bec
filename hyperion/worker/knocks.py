"""Which knock opened the way for a source, so that one id runs through the log from the knock to session and stream.

Told by the supervisor, who hears it from knockd. Knows the last knock of each source; several clients behind one
address share it, as the gate does. Decides nothing: a session without a knock is logged without one. Pure.
"""

import ipaddress
from collections import OrderedDict

#: Sources whose last knock is remembered: as many as the gate lets in at once (``knockd.admission.MAX_SOURCES``).
MAX_SOURCES = 4_096


class LastKnocks:
    """Bounded; who knocked longest ago is forgotten first."""

    def __init__(self, limit: int = MAX_SOURCES) -> None:
        self._limit = limit
        self._ids: OrderedDict[str, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._ids)

    def note(self, source: str, knock: str) -> None:
        """``source`` (an address, as knockd writes it) was let in by the knock with this id."""
        self._ids[source] = knock
        self._ids.move_to_end(source)
        if len(self._ids) > self._limit:
            self._ids.popitem(last=False)

    def of(self, source: str) -> str | None:
        """The id; ``None`` if nobody told. ``source`` as a socket has it: an IPv4 address may come as IPv6, and an
        IPv6 address with its zone."""
        try:
            address = ipaddress.ip_address(source.partition("%")[0])
        except ValueError:
            return None
        mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
        return self._ids.get(str(mapped or address))
