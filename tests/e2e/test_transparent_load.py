"""Many connections over fake addresses, by the whole program: none fails, and tund stays as small as it was."""

import asyncio
import contextlib
import time

import pytest

from tests.helpers.netns import Host
from tests.helpers.product import Product
from tests.helpers.rig import port_of
from tests.helpers.transparent import FAKE, FAKE6, Transparent, start

pytestmark = [pytest.mark.root, pytest.mark.needs("ip")]

#: Pages that Python's memory may grow by for reasons of its own, KiB.
SLACK_KIB = 256


def test_hundreds_of_connections(host: Host) -> None:
    storm(host, 900, 100)


@pytest.mark.long
@pytest.mark.timeout(400)
def test_ten_thousand_connections_at_two_hundred_at_once(host: Host) -> None:
    storm(host, 10_000, 200)


def storm(host: Host, count: int, at_once: int) -> None:
    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1024)
        port = port_of(server.sockets[0])
        with Product() as product:
            running = await asyncio.to_thread(inside, host, product, port)
            await connections(port, 300, at_once)  # what it needs once, it has
            before = resident(running)
            failed = await connections(port, count, at_once)
            assert failed == []
            assert resident(running) - before < SLACK_KIB
            await asyncio.to_thread(lambda: running.client.stop())
        server.close()

    asyncio.run(run())


def inside(host: Host, product: Product, port: int) -> Transparent:
    """In a thread of its own, which has the namespace of the one that made it."""
    running = start(host, product, {name: [port] for name in FAKE})
    running.wait_up()
    return running


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        writer.write((await reader.readexactly(3))[::-1])
        await reader.read()
    writer.close()


async def connections(port: int, count: int, at_once: int) -> list[BaseException]:
    """So many, over all addresses in turn; what went wrong."""
    addresses = [*FAKE.values(), *FAKE6.values()]
    gate = asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with gate, asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(addresses[number % len(addresses)], port)
            writer.write(b"abc")
            assert await reader.readexactly(3) == b"cba"
            writer.close()
            await writer.wait_closed()

    done = await asyncio.gather(*(one(number) for number in range(count)), return_exceptions=True)
    return [error for error in done if error is not None]


def resident(running: Transparent) -> int:
    """Of tund, KiB."""
    started = running.client.wait_events("worker-started")
    pid = next(each["process"]["pid"] for each in started if each["hyperion"]["worker"]["id"] == "tund")
    time.sleep(0.1)
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
