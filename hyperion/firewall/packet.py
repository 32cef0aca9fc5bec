"""Two packets that a table is judged by: a stranger's, and one from a source that was admitted. Pure: nft's JSON in.

Both are the first one of a TCP connection to the tunnel port. For each condition of a rule there are three answers: the
packet never meets it (``narrow``), it surely does (``certain``), or who knows. Knows nothing of verdicts (``walk``).
"""

import enum
from collections.abc import Mapping, Sequence
from typing import Any

from hyperion.firewall.certain import anybody_meets, guest_meets, is_of_another_version
from hyperion.firewall.narrow import Conditions, Json, names_port, names_source

#: Answers that only packets of one version of IP get. Where a rule asks for that version as well, nft leaves it out.
_ANSWERS = {"icmp": 4, "icmpv6": 6}


class Meets(enum.Enum):
    """Whether a packet meets a condition."""

    NEVER = enum.auto()
    MAYBE = enum.auto()
    SURELY = enum.auto()


class Why(enum.Flag):
    """What a rule asks of a packet that it lets in, or does to it: its source has a ``GRANT``, its ``PORT`` is the
    tunnel's, the grant is ``USED_UP``."""

    NOTHING = 0
    GRANT = enum.auto()
    PORT = enum.auto()
    USED_UP = enum.auto()


class Packet:
    """To TCP ``port``. ``sets``: as for ``Conditions``.

    ``guest_of``: the set of grants that its source is in, with its ``@``, ``version`` being that of its IP; ``None``:
    a stranger's, who is in none of ``ours``.
    """

    def __init__(
        self,
        port: int,
        ours: frozenset[str],
        sets: Mapping[str, Sequence[Any]],
        *,
        guest_of: str | None = None,
        version: int = 0,
    ) -> None:
        self.port = port
        self.guest_of = guest_of
        self._version = version
        self._conditions = Conditions(port, ours - {guest_of}, sets)

    def meets(self, match: Json) -> Meets:
        """This condition of a rule."""
        if self.guest_of is not None and names_source(match) == self.guest_of:
            return Meets.SURELY
        if self._conditions.shut_out(match):
            return Meets.NEVER
        left, values = match.get("left"), self._conditions.values(match.get("right"))
        if not isinstance(left, dict) or values is None:
            return Meets.MAYBE
        return self._compared(left, str(match.get("op")), values)

    def why(self, kind: str, value: Any) -> Why:
        """What this statement of a rule, which the packet may meet, has to do with its being let in."""
        if not isinstance(value, dict):
            return Why.NOTHING
        if kind == "match":
            if self.guest_of is not None and names_source(value) == self.guest_of:
                return Why.GRANT
            return Why.PORT if names_port(value) == self.port else Why.NOTHING
        is_end = kind == "set" and (value.get("op"), value.get("set")) == ("delete", self.guest_of)
        return Why.USED_UP if is_end else Why.NOTHING

    def is_answered(self, reject: Any) -> Meets:
        """Whether a rule that rejects does that to this packet."""
        version = _ANSWERS.get(str(reject.get("type"))) if isinstance(reject, dict) else None
        if version is None:
            return Meets.SURELY
        if self.guest_of is None:
            return Meets.MAYBE
        return Meets.SURELY if version == self._version else Meets.NEVER

    def chosen(self, key: Json, values: Sequence[Any]) -> Meets:
        """Whether a verdict map that looks at ``key`` has one of ``values`` for it."""
        return Meets.NEVER if self._conditions.none_meets(key, "==", values) else self._compared(key, "==", values)

    def _compared(self, left: Json, op: str, values: Sequence[Any]) -> Meets:
        if anybody_meets(self.port, left, op, values):
            return Meets.SURELY
        if self.guest_of is None:
            return Meets.MAYBE
        if is_of_another_version(self._version, left, op, values):
            return Meets.NEVER
        return Meets.SURELY if guest_meets(self._version, left, op, values) else Meets.MAYBE
