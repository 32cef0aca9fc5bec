"""The independent peer against real worker processes: 100 sessions as client and 100 as server, half of them plain."""

import contextlib
import hashlib
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.integration.worker_process import client_worker, server_worker
from tests.peer.mux import ACK, DATA, PING, RST, SYN, WINDOW_UPDATE
from tests.peer.noise import InitiatorHandshake, PeerHandshakeError, public_of
from tests.peer.peer import DENIED, UNREACHABLE, PeerClient, PeerRefusedError, PeerServer, send_message
from tests.peer.records import LARGE_RECORD_BYTES, PLAIN_RECORD_BYTES
from tests.peer.services import EchoService, closed_port
from tests.peer.session import PeerStream

SERVER_SECRET, ADMIN_SECRET, PSK = bytes([0x22] * 32), bytes([0x11] * 32), bytes(range(32))
SERVER, ADMIN = public_of(SERVER_SECRET), public_of(ADMIN_SECRET)
#: Seconds; short, so that refused peers are not waited for long.
HANDSHAKE_TIMEOUT = 1.0

#: Half of the sessions that the issue asks for, in each way of speaking.
SESSIONS = 50
SIZES = (1, 2, 1_000, 16_383, 16_384, 16_385, 65_518, 65_519, 65_520, 262_143, 262_144, 262_145, 1_000_000)

#: A server worker: its port, the echo it may reach, a port that is allowed but dead.
Target = tuple[int, int, int]


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    dead = closed_port()
    with EchoService() as echo:
        worker, port = server_worker(
            SERVER_SECRET, PSK, {ADMIN: (echo.port, dead)}, handshake_timeout=HANDSHAKE_TIMEOUT
        )
        with worker:
            yield port, echo.port, dead


def connect(target: Target, *, plain: bool = True, psk: bytes = PSK, secret: bytes = ADMIN_SECRET) -> PeerClient:
    return PeerClient("127.0.0.1", target[0], SERVER, secret, psk, plain=plain)


def payload(seed: int) -> bytes:
    return random.Random(seed).randbytes(SIZES[seed % len(SIZES)])


def echoed(stream: PeerStream, data: bytes) -> bytes:
    """Sends all of ``data`` and half-closes, while reading to the end."""
    answer = stream.exchange(data)
    assert not stream.was_reset
    return answer


def local_connection(port: int) -> socket.socket:
    """A connection through a forward, with its stream open: one byte went there and back."""
    connection = socket.create_connection(("127.0.0.1", port), 20)
    connection.sendall(b"?")
    assert connection.recv(1) == b"?"
    return connection


def local_echo(connection: socket.socket, data: bytes) -> bytes:
    """The same as ``echoed`` through a local connection, which is closed."""
    with connection:

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


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "extended"])
@pytest.mark.timeout(120)
def test_50_sessions_as_client(target: Target, plain: bool) -> None:
    limit = PLAIN_RECORD_BYTES if plain else LARGE_RECORD_BYTES
    for number in range(SESSIONS):
        with connect(target, plain=plain) as client:
            assert bool(client.extensions) is not plain
            data = payload(number)
            assert digest(echoed(client.open(target[1]), data)) == digest(data)
            client.session.ping(number)
            assert client.session.mux.violations == []
            assert max(client.session.reader.sizes) <= limit


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "extended"])
def test_many_streams_on_one_session(target: Target, plain: bool) -> None:
    with connect(target, plain=plain) as client:
        streams = [client.open(target[1]) for _ in range(100)]
        for number, stream in enumerate(streams):
            stream.write(payload(number % 5))
            stream.finish()
        for number, stream in enumerate(streams):
            assert digest(stream.read_all()) == digest(payload(number % 5))
        assert client.session.mux.violations == []


def test_the_server_says_what_it_is(target: Target) -> None:
    with connect(target, plain=False) as client:
        said = client.extensions
        assert said["x"] == 1
        assert said["name"] == "interop"
        assert isinstance(said["ports"], list)
        assert sorted(said["ports"]) == sorted(target[1:])
        assert isinstance(said["time"], int)
        assert isinstance(said["frame"], int)
        assert PLAIN_RECORD_BYTES <= said["frame"] <= LARGE_RECORD_BYTES


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "extended"])
def test_denied_and_unreachable_leave_the_session_alone(target: Target, plain: bool) -> None:
    with connect(target, plain=plain) as client:
        for port, code in ((1, DENIED), (target[2], UNREACHABLE), (0, DENIED), (target[0], DENIED)):
            with pytest.raises(PeerRefusedError) as refused:
                client.open(port)
            assert refused.value.code == code
        assert echoed(client.open(target[1]), b"still here") == b"still here"
        assert client.session.mux.violations == []


def test_wrong_psk(target: Target) -> None:
    """The peer cannot read message 2; a peer that goes on regardless is cut off at the deadline."""
    for _ in range(5):
        with pytest.raises(PeerHandshakeError, match="tag"):
            connect(target, psk=bytes(32))


def _bytes_until_the_end(connection: socket.socket) -> bytes:
    """All that comes before the other side hangs up; fails if it does not within the deadline and some room."""
    connection.settimeout(HANDSHAKE_TIMEOUT + 4)
    data = b""
    try:
        while part := connection.recv(4_096):
            data += part
    except ConnectionResetError:
        return data
    return data


def _message_1(*, secret: bytes = ADMIN_SECRET, server: bytes = SERVER, prologue: bytes | None = None) -> bytes:
    more = {} if prologue is None else {"prologue": prologue}
    return InitiatorHandshake(secret, server, PSK, random.Random(5).randbytes(32), **more).write_1()


def test_unproven_clients_are_cut_off(target: Target) -> None:
    """Right admin key, but no proof of the PSK: message 2 comes, then the end."""
    for rest in (b"", b"\x00\x1c" + bytes(28)):
        with socket.create_connection(("127.0.0.1", target[0])) as connection:
            handshake = InitiatorHandshake(ADMIN_SECRET, SERVER, bytes(32), random.randbytes(32))
            send_message(connection, handshake.write_1())
            connection.sendall(rest)
            assert len(_bytes_until_the_end(connection)) == 2 + 48


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(_message_1(secret=bytes([9] * 32)), id="unknown admin"),
        pytest.param(_message_1(server=public_of(bytes([8] * 32))), id="another server's key"),
        pytest.param(_message_1(prologue=b"hyperion-vpn\x00\x02"), id="another version"),
        pytest.param(bytes(96), id="zero point"),
        pytest.param(b"\x01" + bytes(95), id="low-order point"),
        pytest.param(b"short", id="short"),
        pytest.param(b"", id="empty"),
        pytest.param(bytes(4_097), id="too long"),
        pytest.param(b"\xff" * 4_096, id="noise"),
    ],
)
def test_refused_clients_see_nothing(target: Target, message: bytes) -> None:
    with socket.create_connection(("127.0.0.1", target[0])) as connection:
        send_message(connection, message)
        assert _bytes_until_the_end(connection) == b""


def test_a_replayed_message_1_is_not_answered(target: Target) -> None:
    message = InitiatorHandshake(ADMIN_SECRET, SERVER, PSK, random.randbytes(32)).write_1()
    lengths = []
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", target[0])) as connection:
            send_message(connection, message)
            lengths.append(len(_bytes_until_the_end(connection)))
    assert lengths == [50, 0]


#: frames that break the rules on a session with stream 1 open, and the go-away code that answers (None: none)
VIOLATIONS = [
    pytest.param((DATA, SYN, 2, 0), 1, id="even id"),
    pytest.param((DATA, SYN, 1, 0), 1, id="id already open"),
    pytest.param((DATA, SYN, 0, 0), 1, id="id 0"),
    pytest.param((WINDOW_UPDATE, SYN, 4, 0), 1, id="even id by window update"),
    pytest.param((DATA, SYN, 3, 262_145), 1, id="body of SYN beyond the window"),
    pytest.param((DATA, 0, 1, 2**32 - 1), 1, id="body beyond the window"),
    pytest.param((WINDOW_UPDATE, 0, 1, 2**32 - 1), 1, id="window overflow"),
    pytest.param((WINDOW_UPDATE, SYN, 3, 2**32 - 1), 1, id="window overflow with SYN"),
    pytest.param((PING, ACK, 0, 99_999_999), 1, id="pong nobody asked for"),
    pytest.param((4, 0, 0, 0), None, id="unknown type"),
    pytest.param((255, 0, 0, 0), None, id="type 255"),
]


@pytest.mark.parametrize(("frame", "code"), VIOLATIONS)
def test_violations_end_the_session(target: Target, frame: tuple[int, int, int, int], code: int | None) -> None:
    with connect(target) as client:
        client.open(target[1])
        client.session.send_raw_frame(*frame)
        assert client.session.wait_end() == ("eof" if code is None else "go-away")
        assert client.session.mux.go_away == code


def test_a_forged_record_ends_the_session(target: Target) -> None:
    for wire in (b"\x00\x1c" + bytes(28), b"\x00\x00", b"\x00\x0f", b"\xff\xff"):
        with connect(target) as client:
            client.open(target[1])
            client.session.send_raw_bytes(wire)
            assert client.session.wait_end() in {"eof", "reset"}


def test_odd_but_legal_traffic(target: Target) -> None:
    """Empty records, one byte a record, frames for unknown streams, unknown flags, FIN on the last data, early data."""
    with connect(target) as client:
        session = client.session
        session.send_raw_record(b"")
        session.send_raw_frame(DATA, 0, 99, 4, b"lost")
        session.send_raw_frame(WINDOW_UPDATE, RST, 77, 5)
        with session.changed:
            session.mux.pings_awaited.append(12)
            stream = session.mux.open()
            stream.syn_sent = True
        session.send_raw_frame(PING, SYN | 0x70, 0, 12)
        body = target[1].to_bytes(2, "big") + b"early"
        frame = bytes.fromhex("00000005") + stream.id.to_bytes(4, "big") + len(body).to_bytes(4, "big") + body
        for byte in frame:
            session.send_raw_record(bytes([byte]))
        assert PeerStream(session, stream).read_all() == b"\x00early"
        session.ping(13)
        assert [frame for frame in session.mux.frames if frame[0] == PING and frame[1] == ACK and frame[3] == 12]
        assert session.mux.violations == []


def test_half_close_either_way_round(target: Target) -> None:
    with connect(target) as client:
        stream = client.open(target[1])
        stream.write(b"one")
        assert stream.read_exactly(3) == b"one"
        stream.finish()
        assert stream.read_all() == b""
        assert stream.state.remote_finished
        assert not stream.was_reset


@pytest.fixture(params=[True, False], ids=["plain", "extended"])
def pool(request: pytest.FixtureRequest) -> Iterator[tuple[PeerServer, int, int]]:
    """The peer as server, with 50 tunnels of a client worker, and the local ports of two forwards: echo and denied."""
    plain: bool = request.param
    with EchoService() as echo, PeerServer(SERVER_SECRET, PSK, {ADMIN}, {echo.port}, plain=plain) as server:
        worker, (echo_port, denied_port) = client_worker(
            server.port, SERVER, ADMIN_SECRET, PSK, [echo.port, 1], pool_size=SESSIONS
        )
        with worker:
            server.wait_sessions(SESSIONS)
            yield server, echo_port, denied_port


@pytest.mark.timeout(120)
def test_50_sessions_as_server(pool: tuple[PeerServer, int, int]) -> None:
    server, port, _ = pool
    failures: list[int] = []
    # All are open at once, and a new stream goes to the emptiest tunnel: so every tunnel carries one.
    connections = [local_connection(port) for _ in range(SESSIONS)]

    def transfer(number: int) -> None:
        data = payload(number)
        if digest(local_echo(connections[number], data)) != digest(data):
            failures.append(number)

    threads = [threading.Thread(target=transfer, args=(number,)) for number in range(SESSIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for number, session in enumerate(server.sessions):
        session.ping(number)
        assert session.mux.violations == []
    assert len(server.sessions) == SESSIONS
    assert min(len(session.mux.streams) for session in server.sessions) >= 1, "a tunnel that carried no transfer"
    assert all(offer["x"] == 1 for offer in server.offers)


def test_denied_by_the_peer_closes_the_local_connection(pool: tuple[PeerServer, int, int]) -> None:
    with socket.create_connection(("127.0.0.1", pool[2]), 20) as connection:
        connection.settimeout(20)
        with contextlib.suppress(ConnectionResetError):  # a reset says the same as an end
            assert connection.recv(1) == b""


def test_a_broken_tunnel_is_a_reset_never_an_end(pool: tuple[PeerServer, int, int]) -> None:
    """20 connections in mid-transfer; every tunnel is cut below yamux."""
    server, port, _ = pool
    connections = [local_connection(port) for _ in range(20)]
    for session in list(server.sessions):
        session.close()
    ends: list[bytes | str] = []
    for connection in connections:
        with connection:
            try:
                ends.append(connection.recv(1))
            except ConnectionResetError:
                ends.append("reset")
    assert ends == ["reset"] * 20


def test_the_pool_heals_after_a_go_away(pool: tuple[PeerServer, int, int]) -> None:
    server, port, _ = pool
    for session in list(server.sessions):
        session.send_raw_frame(3, 0, 0, 0)
    server.wait_sessions(SESSIONS + 10)
    assert local_echo(local_connection(port), b"back again") == b"back again"
