"""Work beside the loop."""

import asyncio
import subprocess
import sys
import threading

import pytest

from hyperion.aside import in_thread

pytestmark = pytest.mark.both_loops

HANGS = """
import asyncio, threading
from hyperion.aside import in_thread

async def main():
    try:
        async with asyncio.timeout(0.05):
            await in_thread(threading.Event().wait)
    except TimeoutError:
        print("given up")

asyncio.run(main())
"""


async def test_what_it_returns_and_what_it_raises() -> None:
    assert await in_thread(lambda: threading.current_thread().name, "somebody") == "somebody"
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


async def test_the_loop_goes_on_meanwhile() -> None:
    may_end = threading.Event()
    working = asyncio.create_task(in_thread(may_end.wait))
    await asyncio.sleep(0)
    may_end.set()
    assert await asyncio.wait_for(working, 5)


async def test_whoever_was_cancelled_hears_nothing_more() -> None:
    may_end, ended = threading.Event(), threading.Event()

    def work() -> None:
        may_end.wait()
        ended.set()

    working = asyncio.create_task(in_thread(work))
    await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    may_end.set()
    assert await in_thread(lambda: ended.wait(5))
    await asyncio.sleep(0)


def test_a_thread_that_hangs_does_not_keep_the_program() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, timeout=20, check=True)
    assert done.stdout == b"given up\n"
    assert done.stderr == b""
