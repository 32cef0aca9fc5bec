"""One yamux stream: what may still be sent and received. It refuses to know the session that owns it.

::

    open ── we finish ──> send side closed ──┐
      │                                      ├── both: gone
      ├──── peer finishes ─> receive closed ─┘
      └──── reset by either side ──────────────> gone
"""

from typing import Any

from hyperion.proto.yamux.frame import INITIAL_WINDOW_BYTES
from hyperion.proto.yamux.window import ReceiveWindow


class YamuxStream:
    """State of one stream. Read it freely; only ``YamuxSession`` changes it, but for ``owner``."""

    __slots__ = (
        "acknowledged",
        "bytes_received",
        "bytes_sent",
        "first_flags",
        "gone",
        "id",
        "owner",
        "receive_closed",
        "receive_window",
        "send_closed",
        "send_window",
    )

    def __init__(self, stream_id: int, window: ReceiveWindow, *, first_flags: int, acknowledged: bool) -> None:
        self.id = stream_id
        #: SYN of an opener, ACK of an acceptor, until the first frame took it along
        self.first_flags = first_flags
        #: the peer acknowledged our opening (always true for streams of the peer)
        self.acknowledged = acknowledged
        self.send_window = INITIAL_WINDOW_BYTES
        self.receive_window = window
        self.send_closed = False
        self.receive_closed = False
        #: no longer in the session's table
        self.gone = False
        self.bytes_sent = 0
        self.bytes_received = 0
        #: whatever the driver hangs here to find its relay again; the protocol never looks at it
        self.owner: Any = None

    def __repr__(self) -> str:
        return f"YamuxStream({self.id})"
