"""How long to wait before trying again. Pure: the number of the attempt and a source of chance go in, seconds come out.

Used by the client's pool, where chance keeps a fleet of clients from coming back in step after a server's restart, and
(without chance) by the supervisor, which restarts its own few children.
"""

import random
from dataclasses import dataclass
from typing import Literal

Jitter = Literal["none", "equal", "full"]

#: Doublings after which any sensible cap has long been reached; keeps the power small however often one tries.
MAX_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off. ``start`` and ``cap`` in seconds; each attempt doubles the wait until the cap.

    Jitter: ``full`` waits anything from 0 to the wait, ``equal`` between half of it and the whole, ``none`` exactly it
    (names from "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
    """

    start: float = 0.25
    cap: float = 15.0
    jitter: Jitter = "equal"

    def __post_init__(self) -> None:
        if not 0 < self.start <= self.cap:
            raise ValueError("start must be above 0 and not above cap")

    def ceiling(self, attempt: int) -> float:
        """The wait before jitter, seconds. ``attempt`` counts from 0: the first wait after the first failure."""
        if attempt < 0:
            raise ValueError("attempt must not be negative")
        return min(self.cap, float(self.start * 2 ** min(attempt, MAX_DOUBLINGS)))

    def delay(self, attempt: int, rng: random.Random) -> float:
        """Seconds to wait before trying again."""
        ceiling = self.ceiling(attempt)
        if self.jitter == "full":
            return rng.uniform(0, ceiling)
        if self.jitter == "equal":
            return rng.uniform(ceiling / 2, ceiling)
        return ceiling
