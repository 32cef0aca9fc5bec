"""Signals to the programs as an admin sends them: SIGTERM drains, SIGHUP reloads, SIGINT stops. Exits are clean."""

import signal
import threading
from collections.abc import Iterator

import pytest

from bench import bulk, service
from bench.bulk import Address
from bench.peers import LOOPBACK, port_is_open
from tests.helpers.load import MIB, MOVES, Held, first_answer
from tests.helpers.product import Client, Product, Server
from tests.peer.services import EchoService

EXIT_INTERRUPTED = 130


@pytest.fixture(scope="module")
def bulk_port() -> Iterator[int]:
    child, ports = service.start()
    with child:
        yield ports["bulk"]


def running(port: int, product: Product) -> tuple[Server, Client]:
    server = product.server([port])
    return server, product.client([server.entry()], [port])


def held_both_ways(address: Address, go: threading.Event) -> list[Held]:
    transfers = [Held(move, address, go) for move in MOVES]
    for held in transfers:
        held.wait_held()
    return transfers


@pytest.mark.parametrize("side", ["server", "client"])
def test_sigterm_drains(bulk_port: int, side: str) -> None:
    """What runs finishes with equal hashes, nothing new begins, then exit status 0 and nothing left."""
    with Product() as product:
        server, client = running(bulk_port, product)
        address = client.address(bulk_port)
        go = threading.Event()
        transfers = held_both_ways(address, go)
        drained = server.program if side == "server" else client.program
        drained.send(signal.SIGTERM)
        drained.wait_events("service-draining")
        listener = (LOOPBACK, server.port) if side == "server" else address
        if side == "server":
            assert first_answer(address) == "reset"
        go.set()
        assert [held.outcome() for held in transfers] == ["equal", "equal"]
        assert drained.wait() == 0
        assert not port_is_open(listener)
        (stopped,) = drained.events("service-stopped")
        assert stopped["process"]["exit_code"] == 0
        assert drained.strange == []


def test_sigterm_ends_at_its_deadline(bulk_port: int) -> None:
    """A stream that never ends is reset when the drain time is over."""
    with Product() as product:
        server = product.server([bulk_port], options=["--drain-timeout", "1"])
        client = product.client([server.entry()], [bulk_port])
        go = threading.Event()
        held = Held(bulk.download, client.address(bulk_port), go)
        held.wait_held()
        assert server.program.stop() == 0
        go.set()
        assert held.outcome() == "ConnectionResetError"
        (closed,) = server.program.events("stream-closed")
        assert closed["event"]["reason"] == "drain"


@pytest.mark.parametrize("side", ["server", "client"])
def test_sigint_stops_at_once(bulk_port: int, side: str) -> None:
    """Streams are reset, the exit status is the documented one, and nobody sees a traceback."""
    with Product() as product:
        server, client = running(bulk_port, product)
        go = threading.Event()
        transfers = held_both_ways(client.address(bulk_port), go)
        stopped = server.program if side == "server" else client.program
        assert stopped.stop(signal.SIGINT) == EXIT_INTERRUPTED
        go.set()
        assert [held.outcome() for held in transfers] == ["ConnectionResetError"] * 2
        assert stopped.strange == []
        assert "Traceback" not in stopped.tail()


BAD_FILES = {
    "unknown key": ("listen =", "listens =", "listens"),
    "no toml": ("[egress]", "[egress", "line"),
    "another port": ("listen = ", 'listen = "127.0.0.1:1" # ', "needs a restart"),
    "no admin": ("admin_pubkeys = [", "admin_pubkeys = [] # ", "admin_pubkeys"),
    "a missing key": ("server.key", "no-such.key", "no-such.key"),
}


def test_sighup_with_a_bad_file_changes_nothing(bulk_port: int) -> None:
    with Product() as product:
        server, client = running(bulk_port, product)
        address = client.address(bulk_port)
        go = threading.Event()
        transfers = held_both_ways(address, go)
        good = server.config.read_text()
        for old, new, told in BAD_FILES.values():
            server.config.write_text(good.replace(old, new))
            assert server.reload() == "HYP5002E"
            assert told in server.program.events("HYP5002E")[-1]["error"]["message"]
        bulk.download(address, MIB, hashed=True)
        go.set()
        assert [held.outcome() for held in transfers] == ["equal", "equal"]
        assert len(server.program.events("session-opened")) == 2
        assert server.program.events("session-closed") == []
        server.config.write_text(good)
        assert server.reload() == "HYP5001N"


def test_sighup_removes_an_admin_and_a_port(bulk_port: int) -> None:
    """The removed admin is cut off and stays out. A stream to the removed port runs on, a new one is denied."""
    with Product() as product, EchoService() as echo:
        server = product.server([bulk_port, echo.port], admins=("alice", "bob"))
        clients = {
            name: product.client([server.entry()], [bulk_port, echo.port], name=name, admin=name)
            for name in ("alice", "bob")
        }
        go = threading.Event()
        transfers = {name: held_both_ways(client.address(bulk_port), go) for name, client in clients.items()}
        server.write([echo.port], [product.key("alice")])
        assert server.reload() == "HYP5001N"
        cut = server.program.wait_events("session-closed", 2)
        assert [each["event"]["reason"] for each in cut] == ["revoked"] * 2
        assert first_answer(clients["alice"].address(bulk_port)) == "reset"
        denied = server.program.wait_events("stream-denied")[-1]
        assert (denied["destination"]["port"], denied["event"]["reason"]) == (bulk_port, "egress-policy")
        assert first_answer(clients["alice"].address(echo.port)) == b"?"
        go.set()
        assert [held.outcome() for held in transfers["alice"]] == ["equal", "equal"]
        assert [held.outcome() for held in transfers["bob"]] == ["ConnectionResetError"] * 2
        refused = server.program.wait_events("session-refused")[-1]
        assert refused["event"]["reason"] == "unknown-static-key"
        clients["bob"].program.wait_events("tunnel-down")


def test_sighup_adds_an_admin_and_a_port(bulk_port: int) -> None:
    with Product() as product, EchoService() as echo:
        server = product.server([bulk_port], admins=("alice",))
        client = product.client([server.entry()], [echo.port], name="bob", admin="bob")
        client.program.wait_events("tunnel-down")
        server.write([bulk_port, echo.port], [product.key("alice"), product.key("bob")])
        assert server.reload() == "HYP5001N"
        client.program.wait_events("tunnel-up")
        assert first_answer(client.address(echo.port)) == b"?"


def test_sighup_to_the_client(bulk_port: int) -> None:
    """A bad file changes nothing; a good one adds a server, and the one that stays notices nothing."""
    with Product() as product:
        server, client = running(bulk_port, product)
        go = threading.Event()
        transfers = held_both_ways(client.address(bulk_port), go)
        file = product.directory / "client.toml"
        good = file.read_text()
        file.write_text(good + "no toml")
        client.program.send(signal.SIGHUP)
        client.program.wait_events("HYP5002E")
        product.client_file([server.entry("web1"), server.entry("web2")])
        client.program.send(signal.SIGHUP)
        (reloaded,) = client.program.wait_events("HYP5001N")
        assert reloaded["hyperion"]["config"]["changed"] == ["web2"]
        client.program.wait_for(lambda: tunnels(client) == {"web1", "web2"})
        go.set()
        assert [held.outcome() for held in transfers] == ["equal", "equal"]
        assert client.program.events("tunnel-down") == []


def tunnels(client: Client) -> set[str]:
    return {each["hyperion"]["server"]["name"] for each in client.program.events("tunnel-up")}
