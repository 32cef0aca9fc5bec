"""kill -9 of tund, of a worker and of the supervisor while large transfers run over fake addresses: what was carried
breaks and never looks whole, all else arrives whole, nothing is left, and it comes back."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from bench import bulk, service
from bench.bulk import Transfer
from tests.helpers.netns import Host
from tests.helpers.product import Product, worker_pid
from tests.helpers.transparent import FAKE, FAKE6, Transparent, snapshot, start, wait_for

pytestmark = [pytest.mark.root, pytest.mark.needs("ip", "nft")]

MIB = 1 << 20
#: Of each of four transfers. Of the long ones, 768 MiB are still to come, and come, when the blow falls.
SHORT, LONG = 32 * MIB, 256 * MIB
#: Seconds until an application knows that its transfer is broken.
TOLD_SECONDS = 5.0
BACK_SECONDS = 10.0

SIZES = [SHORT, pytest.param(LONG, marks=[pytest.mark.long, pytest.mark.timeout(180)])]


class Moving:
    """A hashed transfer in a thread of this namespace, which waits when it is a quarter through until it may go on."""

    def __init__(self, move: Callable[..., Transfer], address: str, port: int, size: int) -> None:
        self.done: Transfer | None = None
        self.error: Exception | None = None
        self._quarter = size // 4
        self._halfway, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(move, (address, port), size))
        self._thread.start()

    def wait_held(self) -> None:
        assert self._halfway.wait(60), self.error

    def go(self) -> None:
        """On, to the end."""
        self._go.set()

    def ended(self, seconds: float) -> None:
        """It came to its end, one way or the other."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it hangs"

    def _run(self, move: Callable[..., Transfer], address: bulk.Address, size: int) -> None:
        try:
            self.done = move(address, size, hashed=True, progress=self._progress)
        except (OSError, bulk.TransferError) as error:
            self.error = error
            self._halfway.set()

    def _progress(self, moved: int) -> None:
        if moved >= self._quarter and not self._halfway.is_set():
            self._halfway.set()
            self._go.wait(60)


@contextlib.contextmanager
def running(host: Host) -> Iterator[tuple[Transparent, int]]:
    """Two servers, the bulk service behind both, a client that is up; nothing is left at the end."""
    before = snapshot(host)
    child, ports = service.start()
    with child:
        with Product() as product:
            made = start(host, product, {name: [ports["bulk"]] for name in ("web1", "web2")})
            made.wait_up()
            for name in made.servers:
                wait_until_it_answers(FAKE[name], ports["bulk"])
            yield made, ports["bulk"]
        # No upload that broke looked whole to the service.
        assert [line for line in child.tail() if "early" in line] == []
    wait_for(host, before)


def wait_until_it_answers(address: str, port: int) -> None:
    """A small transfer there and back goes through."""
    deadline = time.monotonic() + BACK_SECONDS
    while True:
        try:
            bulk.upload((address, port), MIB, hashed=True)
            bulk.download((address, port), MIB, hashed=True)
            return
        except (OSError, bulk.TransferError):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def transfers(port: int, size: int) -> dict[str, list[Moving]]:
    """Up and down at once over the addresses of both servers, all a quarter through. Long ones run on, short ones rest:
    an application that only waits is the hardest to tell."""
    ways = {"web1": (FAKE, FAKE6), "web2": (FAKE6, FAKE)}
    moving = {
        name: [
            Moving(move, addresses[name], port, size)
            for move, addresses in zip((bulk.upload, bulk.download), both, strict=True)
        ]
        for name, both in ways.items()
    }
    everything = [*moving["web1"], *moving["web2"]]
    for each in everything:
        each.wait_held()
    for each in everything:
        if size >= LONG:
            each.go()
    return moving


def assert_broken(moving: list[Moving]) -> None:
    """The applications are told, soon, and not that all is well."""
    for each in moving:
        each.go()
    for each in moving:
        each.ended(TOLD_SECONDS)
        assert isinstance(each.error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError), each.error


def assert_whole(moving: list[Moving]) -> None:
    """The hash at the other end is the same."""
    for each in moving:
        each.go()
    for each in moving:
        each.ended(120)
        assert each.done is not None, each.error


@pytest.mark.parametrize("size", SIZES)
def test_a_worker(host: Host, size: int) -> None:
    with running(host) as (made, port):
        moving = transfers(port, size)
        os.kill(worker_pid(made.client, "web1"), signal.SIGKILL)
        assert_broken(moving["web1"])
        assert_whole(moving["web2"])
        wait_until_it_answers(FAKE["web1"], port)


@pytest.mark.parametrize("size", SIZES)
def test_tund(host: Host, size: int) -> None:
    with running(host) as (made, port):
        moving = transfers(port, size)
        os.kill(worker_pid(made.client, "tund"), signal.SIGKILL)
        assert_broken([*moving["web1"], *moving["web2"]])
        made.client.wait_events("device-up", 2)
        for addresses in (FAKE, FAKE6):
            for name in moving:
                wait_until_it_answers(addresses[name], port)


@pytest.mark.parametrize("size", SIZES)
def test_the_supervisor(host: Host, size: int) -> None:
    before = snapshot(host)
    with running(host) as (made, port):
        moving = transfers(port, size)
        made.client.send(signal.SIGKILL)
        assert_broken([*moving["web1"], *moving["web2"]])
        made.client.wait_gone()
        wait_for(host, before)
        made.product.programs.remove(made.client)
        again = made.restart()
        made.wait_up(again)
        for name in moving:
            wait_until_it_answers(FAKE[name], port)
