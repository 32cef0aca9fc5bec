"""What one yamux session may have and may cost. Knows numbers and their reasons; the session keeps to them."""

import msgspec

from hyperion.proto.yamux.resets import MAX_HASTY_RESETS
from hyperion.proto.yamux.window import CONNECTION_BUDGET_BYTES, MAX_STREAM_WINDOW_BYTES


class YamuxLimits(msgspec.Struct, frozen=True):
    """Bounds of one session. The defaults are those of DESIGN section 8."""

    #: streams the peer may have open at once
    max_streams: int = 512
    #: streams we open at once: below the peer's 512, because a Rust peer counts a stream until its task let go of it,
    #: and answers the 513th by ending the whole session
    max_opened: int = 480
    #: own streams that the peer has not acknowledged yet; specification of rust-yamux
    max_unacknowledged: int = 256
    #: pings of the peer answered but not yet taken from ``data_to_send``: a peer that never reads must not grow our
    #: memory
    max_queued_pongs: int = 64
    #: streams that the peer opens and resets before our first word, in a second
    max_hasty_resets: int = MAX_HASTY_RESETS
    #: bytes of receive window beyond the initial ones, over all streams
    window_budget: int = CONNECTION_BUDGET_BYTES
    #: largest receive window of one stream, bytes
    max_stream_window: int = MAX_STREAM_WINDOW_BYTES
