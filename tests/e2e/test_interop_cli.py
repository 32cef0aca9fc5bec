"""The independent peer of ``tests.peer`` against the two programs, with keys that ``keygen`` made."""

import hashlib
import random
import socket
import threading

import pytest

from bench.peers import LOOPBACK
from tests.helpers.product import PATIENCE, Entry, Product
from tests.peer.peer import PeerClient, PeerServer
from tests.peer.services import EchoService
from tests.peer.session import PeerStream

#: In each way of speaking; the integration tests do 50.
SESSIONS = 5
SIZES = (1, 16_384, 65_519, 262_145, 1_000_000)


def payload(number: int) -> bytes:
    return random.Random(number).randbytes(SIZES[number % len(SIZES)])


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def echoed(stream: PeerStream, data: bytes) -> bytes:
    """Sends all and half-closes, while reading to the end."""
    answer = stream.exchange(data)
    assert not stream.was_reset
    return answer


def local_echo(port: int, data: bytes) -> bytes:
    """The same through a forward of the client."""
    with socket.create_connection((LOOPBACK, port), PATIENCE) as connection:

        def send() -> None:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)

        writer = threading.Thread(target=send)
        writer.start()
        answer = bytearray()
        while part := connection.recv(1 << 18):
            answer += part
        writer.join()
        return bytes(answer)


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "extended"])
def test_the_peer_as_client(plain: bool) -> None:
    with EchoService() as echo, Product() as product:
        server = product.server([echo.port])
        keys = server.key.public_raw, product.key("admin").secret_raw, product.psk
        for number in range(SESSIONS):
            with PeerClient(LOOPBACK, server.port, *keys, plain=plain) as client:
                assert bool(client.extensions) is not plain
                data = payload(number)
                assert digest(echoed(client.open(echo.port), data)) == digest(data)
                assert client.session.mux.violations == []
        closed = server.program.wait_events("session-closed", SESSIONS)
        assert [each["hyperion"]["session"]["streams"] for each in closed] == [1] * SESSIONS
        assert server.program.events("session-refused") == []


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "extended"])
def test_the_peer_as_server(plain: bool) -> None:
    """One client, a pool of so many sessions, and each of them carries streams."""
    with EchoService() as echo, Product() as product:
        key, admin = product.key("peer", "server"), product.key("admin")
        admins, allow = {admin.public_raw}, {echo.port}
        with PeerServer(key.secret_raw, product.psk, admins, allow, plain=plain) as server:
            client = product.client([Entry("web1", server.port, key.public)], [echo.port], pool=SESSIONS)
            server.wait_sessions(SESSIONS)
            port = client.address(echo.port)[1]
            for number in range(2 * SESSIONS):
                data = payload(number)
                assert digest(local_echo(port, data)) == digest(data)
            hold = [socket.create_connection((LOOPBACK, port), PATIENCE) for _ in range(SESSIONS)]
            for connection in hold:  # the emptiest session takes the next stream: one for each
                connection.sendall(b"?")
                assert connection.recv(1) == b"?"
            for number, session in enumerate(server.sessions):
                session.ping(number)
                assert session.mux.violations == []
                assert len(session.mux.streams) >= 1
            for connection in hold:
                connection.close()
            assert len(server.sessions) == SESSIONS
            assert server.refusals == []
            assert all(offer["x"] == 1 for offer in server.offers)
            assert client.program.stop() == 0
