"""When a difference of the clocks of client and server is worth a word. Apart from the messages: commands need this."""

#: Clocks of client and server that differ by more than this, milliseconds, are told of: a knock carries a time, and
#: fails when they differ by half a minute.
SKEW_WARNING_MS = 5_000


def is_far(skew_ms: float | None) -> bool:
    """Whether a difference, milliseconds in either direction, is to be told; what is not known is none."""
    return skew_ms is not None and abs(skew_ms) > SKEW_WARNING_MS
