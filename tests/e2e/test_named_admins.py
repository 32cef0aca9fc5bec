"""Named admins with the real programs: names in the log, ports of their own, and the end of their time."""

import contextlib
import datetime
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from bench.bulk import Address
from bench.tunnel import program
from tests.helpers.product import Client, Key, Product, Server

#: Seconds from the reload, or from the moment of the end, to the last session's end.
CUT_WITHIN = 1.0


class Echo(socketserver.BaseRequestHandler):
    """Sends back what comes."""

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(4096):
                self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def section(name: str, key: Key, *more: str) -> list[str]:
    return ["[[admin]]", f'name = "{name}"', f'pubkey = "{key.public}"', *more]


def works(address: Address) -> bool:
    """Whether a byte comes back."""
    try:
        with socket.create_connection(address, timeout=5) as sock:
            sock.sendall(b"x")
            return sock.recv(1) == b"x"
    except OSError:
        return False


def pair(product: Product, port: int, *more: str) -> tuple[Server, Client]:
    """A server where alice has a section of her own, and her client, which is in."""
    server = product.server([], admins=["operator"])
    server.write([], [product.key("operator")], section("alice", product.key("alice"), f"allow = [{port}]", *more))
    assert server.reload() == "HYP5001N"
    client = product.client([server.entry()], [port], admin="alice")
    server.program.wait_events("session-opened", 2)
    return server, client


def last_end(server: Server, reason: str) -> float:
    """When the last session of both ended, Unix seconds, by the log."""
    closed = server.program.wait_events("session-closed", 2)
    assert {each["event"]["reason"] for each in closed} == {reason}
    assert {each["user"]["name"] for each in closed} == {"alice"}
    return max(datetime.datetime.fromisoformat(each["@timestamp"]).timestamp() for each in closed)


def test_the_name_and_the_ports_of_ones_own(echo: int) -> None:
    with Product() as product:
        server, client = pair(product, echo)
        assert works(client.address(echo))
        for action in ("session-opened", "stream-opened"):
            user = server.program.wait_events(action)[0]["user"]
            assert user["name"] == "alice"
            assert user["id"].startswith("SHA256:")
        operator = product.client([server.entry()], [echo], name="other", admin="operator")
        assert not works(operator.address(echo))  # the list of [egress] is empty
        assert list(server.program.wait_events("stream-denied")[0]["user"]) == ["id"]


@pytest.mark.alone
def test_removing_an_admin_cuts_the_live_sessions_within_a_second(echo: int) -> None:
    with Product() as product:
        server, client = pair(product, echo)
        with socket.create_connection(client.address(echo), timeout=5) as sock:
            sock.sendall(b"x")
            assert sock.recv(1) == b"x"
            began = time.time()
            server.write([], [product.key("operator")])
            assert server.reload() == "HYP5001N"
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert last_end(server, "revoked") - began < CUT_WITHIN
        assert server.program.wait_events("session-refused")[0]["event"]["reason"] == "unknown-static-key"


@pytest.mark.alone
def test_an_end_that_a_reload_brings_cuts_the_live_sessions_within_a_second(echo: int) -> None:
    with Product() as product:
        server, _ = pair(product, echo)
        began = time.time()
        past = section("alice", product.key("alice"), f"allow = [{echo}]", "expires = 2020-01-01")
        server.write([], [product.key("operator")], past)
        assert server.reload() == "HYP5001N"
        assert last_end(server, "expired") - began < CUT_WITHIN
        refused = server.program.wait_events("session-refused")[0]
        assert (refused["event"]["reason"], refused["user"]["name"]) == ("admin-expired", "alice")


@pytest.mark.alone
def test_the_end_comes_by_itself(echo: int) -> None:
    with Product() as product:
        server, client = pair(product, echo)
        end = time.time() + 5
        until = f"expires = {datetime.datetime.fromtimestamp(end, datetime.UTC).isoformat()}"
        server.write([], [product.key("operator")], section("alice", product.key("alice"), f"allow = [{echo}]", until))
        assert server.reload() == "HYP5001N"
        assert works(client.address(echo))
        assert time.time() < end, "the machine was too slow for this test"
        assert -0.1 < last_end(server, "expired") - end < CUT_WITHIN
        server.program.wait_events("session-refused")


def test_the_commands_that_let_in_and_out(echo: int) -> None:
    with Product() as product:
        server = product.server([], admins=["operator"])

        def command(*words: str) -> str:
            line = [*program("server"), *words, "--config", str(server.config)]
            return subprocess.run(line, capture_output=True, text=True, timeout=30, check=True).stdout

        added = command("add-admin", "alice", product.key("alice").public, "--allow", str(echo), "--expires", "1h")
        assert added.startswith("added admin alice (SHA256:")
        assert server.reload() == "HYP5001N"
        client = product.client([server.entry()], [echo], admin="alice")
        server.program.wait_events("session-opened", 2)
        assert works(client.address(echo))
        assert [line.split()[0] for line in command("admins").splitlines()] == ["name", "-", "alice"]
        assert command("rm-admin", "alice").startswith("removed admin alice (SHA256:")
        began = time.time()
        assert server.reload() == "HYP5001N"
        assert last_end(server, "revoked") - began < CUT_WITHIN
