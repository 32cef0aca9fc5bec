"""kill -9 of each kind of process under load: only what it carried is lost, and all is back by itself."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from bench import bulk, service
from bench.peers import LOOPBACK, port_is_open
from tests.helpers.load import MIB, MOVES, Asker, Held
from tests.helpers.product import Client, Product, Server, worker_pid

#: So many that both workers get some; below the cap on handshakes of one source.
POOL = 8

#: Transfers on each worker at least.
TRANSFERS = 2

#: The kernel spreads connections by chance: all on one worker once in 128 starts.
MAX_STARTS = 20

#: Seconds for "back by itself".
BACK_TIMEOUT = 20.0

#: Kills of one server in a row. Each makes the wait for the next restart of that worker twice as long.
KILLS = 3
LONG_BATCHES = 5
LONG_KILLS = 4


class Kill(NamedTuple):
    """What one kill did."""

    lost: int
    kept: int
    back_seconds: float
    answers: int


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """A service, which must not have seen a broken upload as a clean end of file either."""
    child, ports = service.start()
    with child:
        yield ports
    assert [line for line in child.tail() if "early" in line] == []


def node(record: dict[str, object]) -> str:
    """The worker that wrote a line."""
    described = record["service"]
    assert isinstance(described, dict)
    return str(described["node"]["name"])


def spread_client(product: Product, server: Server, port: int) -> Client:
    """A client whose pool lies on both workers."""
    for _ in range(MAX_STARTS):
        known = len(server.program.events("session-opened"))
        client = product.client([server.entry()], [port], pool=POOL)
        opened = server.program.wait_events("session-opened", known + POOL)[known:]
        if min(Counter(map(node, opened)).get(name, 0) for name in "01") >= TRANSFERS:
            return client
        assert client.program.stop() == 0
    raise AssertionError("all connections on one worker, again and again")


def transfers(server: Server, client: Client, port: int, go: threading.Event) -> dict[str, list[Held]]:
    """Held transfers by the worker that carries them. One after the other, so that each is known by its log line."""
    carried: dict[str, list[Held]] = {"0": [], "1": []}
    for number in range(POOL):
        known = len(server.program.events("stream-opened"))
        held = Held(MOVES[number % len(MOVES)], client.address(port), go)
        held.wait_held()
        carried[node(server.program.wait_events("stream-opened", known + 1)[known])].append(held)
    assert min(map(len, carried.values())) >= TRANSFERS
    return carried


def kill_server_worker(product: Product, server: Server, port: int, victim: str) -> Kill:
    """One kill under load, judged."""
    client = spread_client(product, server, port)
    go = threading.Event()
    carried = transfers(server, client, port, go)
    with Asker(server.port) as asker:
        sessions = len(server.program.events("session-opened"))
        lives = len(server.program.events("worker-started"))
        pid = server.worker_pid(victim)
        go.set()
        os.kill(pid, signal.SIGKILL)
        killed_at = time.monotonic()
        lost = [held.outcome() for held in carried.pop(victim)]
        bulk.download(client.address(port), MIB, hashed=True)  # a new stream finds a way at once
        kept = [held.outcome() for survivors in carried.values() for held in survivors]
        server.program.wait_events("session-opened", sessions + len(lost), BACK_TIMEOUT)
        back = time.monotonic() - killed_at
        server.program.wait_events("worker-started", lives + 1, BACK_TIMEOUT)
    assert lost == ["ConnectionResetError"] * len(lost)
    assert kept == ["equal"] * len(kept)
    assert asker.failures == []
    bulk.download(client.address(port), MIB, hashed=True)
    assert client.program.stop() == 0
    return Kill(len(lost), len(kept), back, asker.answers)


def kill_again_and_again(port: int, kills: int) -> list[Kill]:
    with Product() as product:
        server = product.server([port])
        done = [kill_server_worker(product, server, port, "01"[number % 2]) for number in range(kills)]
        crashes = server.program.events("worker-crashed")
        assert [crash["hyperion"]["worker"]["signal"] for crash in crashes] == ["SIGKILL"] * kills
    for kill in done:
        print(f"lost {kill.lost}, kept {kill.kept}, back in {kill.back_seconds:.2f} s, {kill.answers} connects")
    return done


@pytest.mark.timeout(180)
def test_a_server_worker_is_killed(ports: dict[str, int]) -> None:
    assert len(kill_again_and_again(ports["bulk"], KILLS)) == KILLS


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("batch", range(LONG_BATCHES))
def test_a_server_worker_is_killed_20_times(ports: dict[str, int], batch: int) -> None:
    assert len(kill_again_and_again(ports["bulk"], LONG_KILLS)) == LONG_KILLS


def test_a_client_worker_is_killed(ports: dict[str, int]) -> None:
    """The other server's streams notice nothing; the local port of the dead one never stops answering."""
    port = ports["bulk"]
    with Product() as product:
        server = product.server([port])
        client = product.client([server.entry("web1"), server.entry("web2")], [port])
        go = threading.Event()
        carried = {
            name: [Held(move, client.address(port, name), go) for move in MOVES for _ in range(TRANSFERS)]
            for name in ("web1", "web2")
        }
        for held in (*carried["web1"], *carried["web2"]):
            held.wait_held()
        with Asker(client.address(port, "web1")[1]) as asker:
            go.set()
            os.kill(worker_pid(client.program, "web1"), signal.SIGKILL)
            lost = [held.outcome() for held in carried["web1"]]
            bulk.download(client.address(port, "web1"), MIB, hashed=True)
            kept = [held.outcome() for held in carried["web2"]]
        assert lost == ["ConnectionResetError"] * len(lost)
        assert kept == ["equal"] * len(kept)
        assert asker.failures == []
        (crash,) = client.program.events("worker-crashed")
        worker = crash["hyperion"]["worker"]
        assert (worker["id"], worker["signal"], worker["restarts"]) == ("web1", "SIGKILL", 1)


@pytest.mark.parametrize("side", ["server", "client"])
def test_a_supervisor_is_killed(ports: dict[str, int], side: str) -> None:
    """Nothing of it is left: no process, no listener; its streams are reset."""
    port = ports["bulk"]
    with Product() as product:
        server = product.server([port])
        client = product.client([server.entry()], [port])
        go = threading.Event()
        held = Held(bulk.download, client.address(port), go)
        held.wait_held()
        victim = server.program if side == "server" else client.program
        assert len(victim.family()) >= 3
        os.kill(victim.pid, signal.SIGKILL)
        assert victim.wait() == -signal.SIGKILL
        listener = server.port if side == "server" else client.address(port)[1]
        assert not port_is_open((LOOPBACK, listener))
        go.set()
        assert held.outcome() == "ConnectionResetError"
