"""What a server's clock says, as well as this client knows it: its own clock, and the difference that the server told.

Pure: times are arguments. Knows when a correction is doubted. Refuses to know knocks and handshakes.

Source: WIRE section 19, ``time``.
"""

#: A difference up to this, milliseconds, needs no second guess: with it or without it a knock lies inside the server's
#: window of 30 s.
SURE_MS = 10_000


class ServerClock:
    """``skew_ms``: how far the server's clock is ahead of this machine's, milliseconds; None until it told."""

    def __init__(self, skew_ms: int | None = None) -> None:
        self.skew_ms = skew_ms

    def learn(self, said_ms: int, sent_at: float, received_at: float) -> None:
        """The server said ``said_ms`` (Unix milliseconds) somewhen between ``sent_at`` and ``received_at`` (Unix
        seconds by our clock); half way is at most half a round trip off."""
        self.skew_ms = said_ms - round((sent_at + received_at) * 500)

    def timestamp(self, now: float, turn: int) -> int:
        """Unix seconds for knock number ``turn`` (from 0) of a dial, at ``now`` by our own clock.

        If the two clocks differ much, every other knock goes by our own: since the server told, one of them may have
        been set right, and then a correction would shut us out for good.
        """
        skew = self.skew_ms or 0
        if abs(skew) > SURE_MS and turn % 2:
            skew = 0
        return max(0, int(now + skew / 1000))
