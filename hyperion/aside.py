"""Work that blocks, beside the loop: in a thread that nobody waits for if it hangs.

Not the loop's own executor: a program does not end before each of its threads has, and one that reads from a file
system that is gone, asks a name service that does not answer, or waits for a terminal would keep it for ever. Knows
threads. Refuses to know what the work is, and how long it may take: that is the caller's deadline.
"""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result], name: str = "aside") -> Result:
    """What ``work()`` returns or raises, out of a thread of its own with the rights of this one.

    Whoever is cancelled meanwhile hears nothing more of it; the thread goes on to its end, or to the program's.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(outcome: Result | BaseException) -> None:
        if done.done():
            return
        if isinstance(outcome, BaseException):
            done.set_exception(outcome)
        else:
            done.set_result(outcome)

    def body() -> None:
        outcome: Result | BaseException
        try:
            outcome = work()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the result is awaited
            outcome = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=body, daemon=True, name=name).start()
    return await done
