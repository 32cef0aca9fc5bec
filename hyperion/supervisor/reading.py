"""A configuration that is read again while the service runs: beside the loop, and not for ever.

Knows that a file system and a name service may hang. Refuses to know what is read and what follows from it.
"""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from hyperion.aside import in_thread
from hyperion.errors import TemporaryError

#: Seconds that reading a configuration may take. It takes a tenth of one; but a key may lie on a file system of the
#: network, and names of servers that nobody answers for take ten each.
MAX_READ_SECONDS = 60.0

Config = TypeVar("Config")


async def read_again(load: Callable[[], Config], what: str = "the configuration could not be read") -> Config:
    """What ``load()`` returns. Raises what it raises, and ``TemporaryError``, which says ``what``, if it takes longer
    than 60 s."""
    try:
        async with asyncio.timeout(MAX_READ_SECONDS):
            return await in_thread(load, "reload")
    except TimeoutError:
        raise TemporaryError(
            f"{what} within {MAX_READ_SECONDS:g} s",
            hint="is its file system there, and does the name service answer?",
        ) from None
