"""Messages between the supervisor and knockd, the process that holds the gate.

Two closed unions, as in ``proto.control``, whose framing, limits and common words (ready, stop, fault) they share. Few
words on purpose: once configured, knockd shuts a source out when told to, and lets one in only for a knock.

The knock key travels here once, in the first message. It opens knocks and nothing more: the PSK that it was derived
from stays with the supervisor.
"""

from typing import Any

import msgspec

from hyperion.proto.control import Fault, LogSettings, Message, Pulse, Ready, Stop

#: Seconds between knockd's signs of life. Shorter than those of other children: while it hangs nobody guards the gate.
KNOCKD_PULSE_SECONDS = 1.0
#: Longest ``GuardedTable``, bytes of its two texts: it fits into one control message with room to spare. The table that
#: ``print-firewall`` makes has 3,000.
MAX_GUARDED_BYTES = 49_152

__all__ = [
    "KNOCKD_PULSE_SECONDS",
    "MAX_GUARDED_BYTES",
    "Admitted",
    "Ended",
    "Fault",
    "GateState",
    "GuardedTable",
    "Held",
    "Hold",
    "InheritedTable",
    "KnockCounts",
    "KnockdConfig",
    "KnockdToSupervisor",
    "LogSettings",
    "Pulse",
    "Ready",
    "Revoke",
    "Standing",
    "Stop",
    "SupervisorToKnockd",
]


class KnockdConfig(Message, frozen=True, tag="knockd-config"):
    """First message to knockd. ``window`` and ``ttl`` in seconds; ``table`` and ``set`` are names in nftables.

    ``replay_path`` is a file in a runtime directory that knockd may write. ``one_shot``: the first connection uses a
    grant up. ``successor``: another one ran with these settings a moment ago, so its replay memory must be there.
    """

    knock_key: bytes
    server_public: bytes
    knock_port: int
    tunnel_port: int
    window: int
    table: str
    set: str
    ttl: int
    replay_path: str
    one_shot: bool = False
    successor: bool = False
    log: LogSettings = msgspec.field(default_factory=LogSettings)

    def __repr__(self) -> str:
        return f"KnockdConfig(knock_port={self.knock_port}, tunnel_port={self.tunnel_port}, table={self.table!r})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("knock_port", self.knock_port), ("tunnel_port", self.tunnel_port), ("table", self.table)]


class Revoke(Message, frozen=True, tag="revoke"):
    """End the grant of this source (an address in text) now. Running connections stay."""

    source: str


class Hold(Message, frozen=True, tag="hold"):
    """The operator changes the table: restore nothing for ``seconds``, then take what is there for right. 0: he is
    done. Answered by ``Held``."""

    seconds: float


class Held(Message, frozen=True, tag="held"):
    """So it is, from now on."""


class Admitted(Message, frozen=True, tag="admitted"):
    """This source may connect for ``ttl`` seconds from now, because of the knock with this id (that of the log)."""

    source: str
    ttl: int
    knock: str = ""


class Standing(Message, frozen=True, tag="standing"):
    """This source may connect for ``left`` seconds more: found in the firewall at the start, or after trouble."""

    source: str
    left: float


class Ended(Message, frozen=True, tag="ended"):
    """The grant of this source is over: ``expired`` or ``revoked``."""

    source: str
    reason: str


class KnockCounts(Message, frozen=True, tag="knock-counts"):
    """Since knockd's start: datagrams by verdict, and packets that the kernel dropped because we were too slow.

    At most one a second, whatever is sent to us.
    """

    verdicts: dict[str, int]
    dropped: int


class GateState(Message, frozen=True, tag="gate-state"):
    """Whether a right knock opens the gate. Sent on each change; ``reason`` says what is wrong."""

    ok: bool
    reason: str | None = None


class GuardedTable(Message, frozen=True, tag="guarded-table"):
    """What knockd puts back from now on, in nft's words: the table's listing, and the commands that fill the operator's
    sets. Empty: it does not say, because it is too long."""

    listing: str
    elements: str


class InheritedTable(Message, frozen=True, tag="inherited-table"):
    """The ``GuardedTable`` of a knockd that ended a moment ago; nobody has said since that he changes it."""

    listing: str
    elements: str


SupervisorToKnockd = KnockdConfig | InheritedTable | Revoke | Hold | Stop
KnockdToSupervisor = Ready | Pulse | Admitted | Standing | Ended | KnockCounts | GateState | GuardedTable | Held | Fault
