"""Signals as orders to the supervisor. A handler only queues an order: everything is done in the loop, one at a time.

Knows which signal means what. Refuses to know how an order is carried out, and what a second one means.
"""

import asyncio
import enum
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType


class Order(enum.Enum):
    """What somebody wants of the whole service."""

    DRAIN = "drain"
    STOP = "stop"
    RELOAD = "reload"
    #: A log was rotated. The log notices by itself; what is asked for is only not to die of the signal.
    REOPEN = "reopen"


def meanings() -> Mapping[signal.Signals, Order]:
    """The signals of this platform that we obey. (Windows has no hangup, but a console that can be broken.)"""
    wanted = {"SIGTERM": Order.DRAIN, "SIGINT": Order.STOP, "SIGBREAK": Order.STOP, "SIGHUP": Order.RELOAD}
    wanted["SIGUSR1"] = Order.REOPEN
    return {signal.Signals[name]: order for name, order in wanted.items() if name in signal.Signals.__members__}


@contextmanager
def orders() -> Iterator["asyncio.Queue[Order]"]:
    """Within the block, signals arrive in the queue. Main thread only. Afterwards their old handlers are back."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Order] = asyncio.Queue()
    before = {number: signal.getsignal(number) for number in meanings()}
    try:
        for number, order in meanings().items():
            _handle(loop, queue, number, order)
        yield queue
    finally:
        for number, handler in before.items():
            _forget(loop, number)
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _handle(
    loop: asyncio.AbstractEventLoop, queue: "asyncio.Queue[Order]", number: signal.Signals, order: Order
) -> None:
    try:
        loop.add_signal_handler(number, queue.put_nowait, order)
    except NotImplementedError:  # Windows: the handler runs between two bytecodes, somewhere in the loop's thread

        def handler(_number: int, _frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, order)

        signal.signal(number, handler)


def _forget(loop: asyncio.AbstractEventLoop, number: signal.Signals) -> None:
    try:
        loop.remove_signal_handler(number)
    except NotImplementedError:
        return


def signal_name(number: int) -> str:
    """``SIGSEGV`` for 11; a real-time signal has only its number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
