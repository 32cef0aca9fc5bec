import asyncio
import os
import signal

import pytest

from hyperion.supervisor.signals import Order, meanings, orders, signal_name

EXPECTED = [
    (signal.SIGTERM, Order.DRAIN),
    (signal.SIGINT, Order.STOP),
    (signal.SIGHUP, Order.RELOAD),
    (signal.SIGUSR1, Order.REOPEN),
]


@pytest.mark.both_loops
async def test_signals_become_orders_and_old_handlers_come_back() -> None:
    before = {number: signal.getsignal(number) for number in meanings()}
    with orders() as queue:
        for number, order in EXPECTED:
            os.kill(os.getpid(), number)
            assert await asyncio.wait_for(queue.get(), 5) is order
    assert {number: signal.getsignal(number) for number in meanings()} == before


async def test_where_the_loop_knows_no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows."""

    def missing(*_: object) -> None:
        raise NotImplementedError

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "add_signal_handler", missing)
    monkeypatch.setattr(loop, "remove_signal_handler", missing)
    before = signal.getsignal(signal.SIGTERM)
    with orders() as queue:
        for number, order in EXPECTED:
            os.kill(os.getpid(), number)
            assert await asyncio.wait_for(queue.get(), 5) is order
    assert signal.getsignal(signal.SIGTERM) == before


def test_names() -> None:
    assert signal_name(11) == "SIGSEGV"
    assert signal_name(45) == "signal 45"
