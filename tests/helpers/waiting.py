"""Waiting for what tells nobody when it happens."""

import time
from collections.abc import Callable

#: More than any step takes on a loaded machine, and less than a grant of the tests lives: what is to be ended must not
#: have ended by itself.
PATIENCE = 15.0


def until(condition: Callable[[], object], seconds: float = PATIENCE, what: str = "it never came to be") -> float:
    """Seconds it took until ``condition`` held; asked a hundred times a second. Fails the test if it never did."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.01)
    return time.monotonic() - began
