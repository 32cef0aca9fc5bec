"""What a worker counts for the supervisor's status and metrics.

Payload bytes of streams, seen from this worker's machine.
"""

from hyperion.proto.control import Heartbeat


class Counters:
    """Totals since the worker's start. Gauges are asked for when a heartbeat is made."""

    __slots__ = ("bytes_in", "bytes_out", "sessions_total", "streams_total")

    def __init__(self) -> None:
        self.sessions_total = 0
        self.streams_total = 0
        #: of streams that ended; ``heartbeat`` adds those that run
        self.bytes_in = 0
        self.bytes_out = 0

    def heartbeat(self, sessions: int, running: list[tuple[int, int]]) -> Heartbeat:
        """The message of now; ``running`` holds (bytes in, bytes out) of every stream that runs."""
        return Heartbeat(
            sessions=sessions,
            streams=len(running),
            sessions_total=self.sessions_total,
            streams_total=self.streams_total,
            bytes_in=self.bytes_in + sum(pair[0] for pair in running),
            bytes_out=self.bytes_out + sum(pair[1] for pair in running),
        )
