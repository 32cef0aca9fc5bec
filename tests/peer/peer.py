"""``PeerClient`` and ``PeerServer``: the independent peer as it is used in tests.

Knows the handshake framing, the payloads and the connect exchange. Both can speak plain version 1 (``plain=True``) or
version 1 with extensions.
"""

import contextlib
import os
import socket
import threading

from tests.peer.extensions import Value, decode_extensions, encode_extensions
from tests.peer.noise import (
    PROLOGUE,
    InitiatorHandshake,
    PeerHandshakeError,
    ResponderHandshake,
    SessionKeys,
)
from tests.peer.records import LARGE_RECORD_BYTES, PLAIN_RECORD_BYTES
from tests.peer.session import WAIT_SECONDS, PeerSession, PeerSessionError, PeerStream

OK, DENIED, UNREACHABLE = range(3)
MAX_HANDSHAKE_BYTES = 4_096
AGENT = "independent-peer/1"


class PeerRefusedError(Exception):
    """The server answered Denied or Unreachable; ``code`` is its answer."""

    def __init__(self, code: int) -> None:
        super().__init__(f"answer {code}")
        self.code = code


def send_message(connection: socket.socket, message: bytes) -> None:
    """A handshake message with its u16 length."""
    connection.sendall(len(message).to_bytes(2, "big") + message)


def receive_message(connection: socket.socket) -> bytes:
    """A handshake message. Raises ``PeerHandshakeError`` at the end of file or for a forbidden length."""
    length = int.from_bytes(_receive_exactly(connection, 2), "big")
    if not 1 <= length <= MAX_HANDSHAKE_BYTES:
        raise PeerHandshakeError(f"handshake message of {length} bytes")
    return _receive_exactly(connection, length)


def _receive_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            part = connection.recv(size - len(data))
        except OSError as error:
            raise PeerHandshakeError("connection failed in the handshake") from error
        if not part:
            raise PeerHandshakeError("connection closed in the handshake")
        data += part
    return data


def record_limit(extensions: dict[str, Value]) -> int:
    """Largest plaintext the sender of these extensions accepts."""
    limit = extensions.get("frame", PLAIN_RECORD_BYTES)
    assert isinstance(limit, int)
    return limit


class PeerClient:
    """A client. Connects and shakes hands at construction; raises ``PeerHandshakeError``."""

    def __init__(
        self,
        host: str,
        port: int,
        server_public: bytes,
        admin_secret: bytes,
        psk: bytes,
        *,
        plain: bool = True,
        ephemeral: bytes | None = None,
        prologue: bytes = PROLOGUE,
        connection: socket.socket | None = None,
        start: bool = True,
    ) -> None:
        self.connection = connection or socket.create_connection((host, port), WAIT_SECONDS)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        handshake = InitiatorHandshake(admin_secret, server_public, psk, ephemeral or os.urandom(32), prologue)
        try:
            self.extensions, keys = self._shake(handshake, plain)
        except BaseException:
            self.connection.close()
            raise
        self.session = PeerSession(
            self.connection,
            keys,
            client=True,
            plain=plain,
            send_limit=PLAIN_RECORD_BYTES if plain else record_limit(self.extensions),
            receive_limit=PLAIN_RECORD_BYTES if plain else LARGE_RECORD_BYTES,
            start=start,
        )

    def _shake(self, handshake: InitiatorHandshake, plain: bool) -> tuple[dict[str, Value], SessionKeys]:
        offer: dict[str, Value] = {"x": 1, "frame": LARGE_RECORD_BYTES, "agent": AGENT}
        send_message(self.connection, handshake.write_1(b"" if plain else encode_extensions(offer)))
        payload, keys = handshake.read_2(receive_message(self.connection))
        return decode_extensions(payload), keys

    def open(self, port: int, timeout: float = WAIT_SECONDS) -> PeerStream:
        """A stream to ``port`` of the server. Raises ``PeerRefusedError`` or ``PeerSessionError``."""
        stream = self.session.open_stream(port.to_bytes(2, "big"))
        answer = stream.read(1, timeout)
        if not answer:
            raise PeerSessionError("stream ended without an answer")
        if answer[0] != OK:
            raise PeerRefusedError(answer[0])
        return stream

    def close(self) -> None:
        """Drops the connection."""
        self.session.close()

    def __enter__(self) -> "PeerClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PeerServer:
    """A server on 127.0.0.1, port 0. Serves ``admins``; streams go to 127.0.0.1 if the port is in ``allow``."""

    def __init__(
        self,
        secret: bytes,
        psk: bytes,
        admins: set[bytes],
        allow: set[int],
        *,
        plain: bool = True,
        name: str = "peer",
    ) -> None:
        self._secret, self._psk, self._admins, self._plain, self._name = secret, psk, admins, plain, name
        self.allow = allow
        self.sessions: list[PeerSession] = []
        #: what initiators said of themselves, newest last
        self.offers: list[dict[str, Value]] = []
        #: handshakes that failed, by reason
        self.refusals: list[str] = []
        self.changed = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._spawn(self._accept_loop)

    def close(self) -> None:
        """Stops listening and drops all sessions."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for session in list(self.sessions):
            session.close()
        for thread in list(self._threads):
            thread.join(WAIT_SECONDS)

    def __enter__(self) -> "PeerServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_sessions(self, count: int, timeout: float = WAIT_SECONDS) -> None:
        """Waits until ``count`` sessions have been set up. Raises ``PeerSessionError``."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.sessions) >= count, timeout):
                raise PeerSessionError(f"{len(self.sessions)} of {count} sessions")

    def _spawn(self, run: object, *arguments: object) -> None:
        assert callable(run)
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        with self.changed:
            self._threads = [other for other in self._threads if other.is_alive()] + [thread]
            thread.start()

    def _accept_loop(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            session = self._shake(connection)
        except (PeerHandshakeError, OSError, ValueError) as error:
            connection.close()
            self.refusals.append(str(error))
            return
        with self.changed:
            self.sessions.append(session)
            self.changed.notify_all()
        while (stream := session.next_accepted()) is not None or not session.ended:
            if stream is not None:
                self._spawn(self._serve_stream, stream)
        session.close()

    def _shake(self, connection: socket.socket) -> PeerSession:
        handshake = ResponderHandshake(self._secret, self._psk, os.urandom(32))
        connection.settimeout(WAIT_SECONDS)
        offer = decode_extensions(handshake.read_1(receive_message(connection)))
        if handshake.initiator_public not in self._admins:
            raise PeerHandshakeError("unknown admin")
        self.offers.append(offer)
        extended = bool(offer) and not self._plain
        message, keys = handshake.write_2(encode_extensions(self._answer()) if extended else b"")
        send_message(connection, message)
        return PeerSession(
            connection,
            keys,
            client=False,
            plain=self._plain,
            send_limit=record_limit(offer) if extended else PLAIN_RECORD_BYTES,
            receive_limit=LARGE_RECORD_BYTES if extended else PLAIN_RECORD_BYTES,
        )

    def _answer(self) -> dict[str, Value]:
        ports = sorted(self.allow)
        return {"x": 1, "frame": LARGE_RECORD_BYTES, "agent": AGENT, "name": self._name, "ports": ports}

    def _serve_stream(self, stream: PeerStream) -> None:
        try:
            port = int.from_bytes(stream.read_exactly(2), "big")
            self._connect(stream, port)
        except PeerSessionError:
            return  # the session is over

    def _connect(self, stream: PeerStream, port: int) -> None:
        if port not in self.allow:
            self._refuse(stream, DENIED)
            return
        try:
            target = socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)
        except OSError:
            self._refuse(stream, UNREACHABLE)
            return
        with target:
            target.settimeout(None)
            stream.write(bytes([OK]))
            pump = threading.Thread(target=_pump_to_stream, args=(target, stream), daemon=True)
            pump.start()
            _pump_to_socket(stream, target)
            pump.join()

    def _refuse(self, stream: PeerStream, code: int) -> None:
        stream.write(bytes([code]))
        stream.reset()


def _pump_to_stream(source: socket.socket, stream: PeerStream) -> None:
    try:
        while data := source.recv(1 << 16):
            stream.write(data)
        stream.finish()
    except (PeerSessionError, OSError):
        stream.reset()


def _pump_to_socket(stream: PeerStream, target: socket.socket) -> None:
    try:
        while data := stream.read(1 << 16, timeout=3_600):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR if stream.was_reset else socket.SHUT_WR)
    except (PeerSessionError, OSError):
        stream.reset()
        with contextlib.suppress(OSError):  # the service may have hung up first
            target.shutdown(socket.SHUT_RDWR)
