"""One client with forty servers, two of them dead: the others notice nothing, and ``doctor`` tells which."""

import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from bench.bulk import Address
from bench.peers import LOOPBACK
from bench.tunnel import program
from tests.helpers.product import PATIENCE, Entry, Product
from tests.helpers.program import Record
from tests.peer.services import EchoService, closed_port

#: Names for each server process: as many handshakes of one source as one worker takes at once.
NAMES_EACH = (8, 8, 8, 7, 7)
SERVERS = 40

#: Seconds of the longest back-off between two attempts of a pool.
LAST_BACKOFF = 15.0

#: Seconds after which ``doctor`` gives a step up.
DOCTOR_STEP = 2
DOCTOR_TIMEOUT = 60


@contextmanager
def silent_port() -> Iterator[int]:
    """Somebody listens and never says a word."""
    with socket.create_server((LOOPBACK, 0), backlog=256) as listener:
        yield listener.getsockname()[1]


def start(product: Product, echo_port: int, silent: int) -> list[Entry]:
    """The server processes, and forty names: the tenth and the twentieth are dead."""
    servers = [product.server([echo_port], name=f"server{index}", wait=False) for index in range(len(NAMES_EACH))]
    for server in servers:
        server.wait_ready()
    places = [server for server, count in zip(servers, NAMES_EACH, strict=True) for _ in range(count)]
    entries = [Entry(f"web{index}", server.port, server.key.public) for index, server in enumerate(places)]
    entries.insert(9, Entry("refusing", closed_port(), servers[0].key.public))
    entries.insert(19, Entry("silent", silent, servers[0].key.public))
    assert len(entries) == SERVERS
    return entries


def answer(address: Address) -> float:
    """Seconds until a stream answered."""
    began = time.monotonic()
    with socket.create_connection(address, PATIENCE) as connection:
        connection.sendall(b"?")
        assert connection.recv(1) == b"?"
    return time.monotonic() - began


@pytest.mark.alone
@pytest.mark.timeout(120)
def test_two_of_forty_are_dead() -> None:
    with EchoService() as echo, silent_port() as silent, Product() as product:
        entries = start(product, echo.port, silent)
        alive = [entry.name for entry in entries if entry.name.startswith("web")]
        began = time.monotonic()
        client = product.client(entries, [echo.port], pool=1)
        listening = time.monotonic() - began
        with ThreadPoolExecutor(len(alive)) as threads:
            slowest = max(threads.map(lambda name: answer(client.address(echo.port, name)), alive))
        took = time.monotonic() - began
        print(f"40 workers listen after {listening:.1f} s, 38 answered after {took:.1f} s, slowest {slowest:.2f} s")
        assert slowest < LAST_BACKOFF
        up = client.program.wait_events("tunnel-up", len(alive))
        assert {each["hyperion"]["server"]["name"] for each in up} == set(alive)
        client.program.wait_for(lambda: len(down(client.program.events("tunnel-down"))) == 2)
        assert down(client.program.events("tunnel-down")) == {"refusing": "refused", "silent": "handshake-timeout"}
        check_doctor(product, entries)


def down(records: list[Record]) -> dict[str, str]:
    return {each["hyperion"]["server"]["name"]: each["event"]["reason"] for each in records}


def check_doctor(product: Product, entries: list[Entry]) -> None:
    """38 fine, two not, in the order of the file, and no longer than the slowest of them."""
    words = [*program("client"), "doctor", "-c", str(product.directory / "client.toml"), "--timeout", str(DOCTOR_STEP)]
    began = time.monotonic()
    done = subprocess.run(words, capture_output=True, text=True, timeout=DOCTOR_TIMEOUT, check=False)
    took = time.monotonic() - began
    *lines, counted = [line for line in done.stdout.splitlines() if not line.startswith(" ")]
    assert done.returncode == 1
    assert counted.startswith(f"{SERVERS - 2} of {SERVERS} servers ok")
    assert [line.split()[0] for line in lines] == [entry.name for entry in entries]
    assert len([line for line in lines if " ... ok" in line]) == SERVERS - 2
    failed = [line for line in lines if " ... FAIL" in line]
    assert [line.split()[0] for line in failed] == ["refusing", "silent"]
    assert "connection refused" in failed[0]
    assert done.stdout.count("hint: ") == 2
    assert done.stderr == ""
    print(f"doctor: 38 ok, 2 FAIL in {took:.1f} s")
