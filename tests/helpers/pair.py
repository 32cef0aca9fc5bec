"""Two tunnels back to back under one virtual clock: no socket, no thread, no waiting. (The idea is quinn's ``Pair``.)

Bytes that one side sends lie on a ``Wire`` until the pair is driven; a test may look at them there, cut, flip, drop or
reorder them. ``raw_client`` and ``raw_server`` make hostile peers that hold all the right keys: they can put any
bytes into a record.
"""

from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hyperion.proto.extensions import PLAIN, Parameters
from hyperion.proto.noise.handshake import Initiator, Responder
from hyperion.proto.noise.record import (
    BASE_PLAINTEXT_BYTES,
    LENGTH_BYTES,
    MAX_PLAINTEXT_BYTES,
    TAG_BYTES,
    RecordWriter,
)
from hyperion.proto.noise.seen import SeenEphemerals
from hyperion.proto.tunnel import AdmissionRequested, ClientTunnel, ServerTunnel, Tunnel, TunnelEvent
from hyperion.proto.yamux.events import StreamData, StreamOpened
from hyperion.proto.yamux.limits import YamuxLimits
from hyperion.proto.yamux.stream import YamuxStream

START = 1_000.0


def public_of(secret: bytes) -> bytes:
    """The X25519 public key."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


PSK = bytes(range(32))
ADMIN = b"\x11" * 32
SERVER = b"\x22" * 32
CLIENT_EPHEMERAL = b"\x33" * 32
SERVER_EPHEMERAL = b"\x44" * 32
ADMIN_PUBLIC = public_of(ADMIN)
SERVER_PUBLIC = public_of(SERVER)
#: What the largest record takes.
RECORD_BYTES = LENGTH_BYTES + MAX_PLAINTEXT_BYTES + TAG_BYTES
#: What two Python peers say to each other.
EXTENDED = Parameters(x=1, frame=65_519, agent="test/1")


def framed(message: bytes) -> bytes:
    """A handshake message as it lies on the wire."""
    return len(message).to_bytes(2, "big") + message


def new_client(
    *,
    psk: bytes = PSK,
    static: bytes = ADMIN,
    ephemeral: bytes = CLIENT_EPHEMERAL,
    own: Parameters = PLAIN,
    limits: YamuxLimits | None = None,
) -> ClientTunnel:
    return ClientTunnel(
        static=static, server_public=SERVER_PUBLIC, psk=psk, ephemeral=ephemeral, now=START, own=own, limits=limits
    )


def new_server(
    *, psk: bytes = PSK, seen: SeenEphemerals | None = None, limits: YamuxLimits | None = None
) -> ServerTunnel:
    return ServerTunnel(static=SERVER, psk=psk, ephemeral=SERVER_EPHEMERAL, now=START, seen=seen, limits=limits)


def take_events(tunnel: Tunnel) -> list[TunnelEvent]:
    """All events that wait."""
    events = []
    while (event := tunnel.next_event()) is not None:
        events.append(event)
    return events


def names(events: list[TunnelEvent]) -> list[str]:
    return [type(event).__name__ for event in events]


def message_1(**changes: Any) -> bytes:
    """A good message 1 on the wire, or one with something changed."""
    parts = {"static": ADMIN, "server_public": SERVER_PUBLIC, "psk": PSK, "ephemeral": b"\x55" * 32} | changes
    return framed(Initiator(**parts).create_message_1())


def feed(tunnel: Tunnel, *pieces: bytes, now: float = START) -> None:
    for piece in pieces:
        tunnel.receive_data(memoryview(piece), now)


def asked(server: ServerTunnel | None = None) -> ServerTunnel:
    """A server that waits for its driver's decision."""
    server = server or new_server()
    feed(server, message_1())
    assert names(take_events(server)) == ["AdmissionRequested"]
    return server


def split_records(wire: bytes) -> list[bytes]:
    """Each length-prefixed piece of ``wire`` (records, or handshake messages), with its prefix."""
    pieces = []
    while wire:
        end = 2 + int.from_bytes(wire[:2], "big")
        pieces.append(wire[:end])
        wire = wire[end:]
    return pieces


@dataclass
class Side:
    """One tunnel, what it was told, and the bytes on their way to it."""

    tunnel: Tunnel
    wire: bytearray = field(default_factory=bytearray)
    events: list[TunnelEvent] = field(default_factory=list)
    #: data of each stream, by id
    received: dict[int, bytearray] = field(default_factory=dict)
    #: streams that the peer opened, by id
    streams: dict[int, YamuxStream] = field(default_factory=dict)
    #: give credit back at once, as a driver does whose application reads everything
    consume: bool = True

    @property
    def names(self) -> list[str]:
        """Names of all events so far, data left out."""
        return [name for name in names(self.events) if name != "StreamData"]

    def collect(self, now: float, own: Parameters | None) -> None:
        """Take the events; answer the question for admission with ``own`` (None: refuse)."""
        while (event := self.tunnel.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, StreamData):
                self.received.setdefault(event.stream.id, bytearray()).extend(event.data)
                if self.consume:
                    self.tunnel.mux.consumed(event.stream, len(event.data), now)
            elif isinstance(event, StreamOpened):
                self.streams[event.stream.id] = event.stream
            elif isinstance(event, AdmissionRequested):
                assert isinstance(self.tunnel, ServerTunnel)
                if own is None:
                    self.tunnel.refuse("unknown-static-key")
                else:
                    self.tunnel.admit(own, now)


class Pair:
    """A client and a server; ``own`` is what the server says of itself when it admits (None: it refuses)."""

    def __init__(
        self, *, client: ClientTunnel | None = None, server: ServerTunnel | None = None, own: Parameters | None = PLAIN
    ) -> None:
        self.client = Side(client or new_client())
        self.server = Side(server or new_server())
        self.own = own
        self.now = START

    @classmethod
    def opened(cls, *, extended: bool = False) -> "Pair":
        """Past the handshake and the first pings."""
        pair = cls(client=new_client(own=EXTENDED), own=EXTENDED) if extended else cls()
        pair.settle()
        assert "TunnelOpened" in pair.client.names
        assert "TunnelOpened" in pair.server.names
        return pair

    def collect(self) -> None:
        """Events of both sides are taken, and what both want to send is put on the wires."""
        for side, other in ((self.client, self.server), (self.server, self.client)):
            side.collect(self.now, self.own)
            for piece in side.tunnel.data_to_send():
                other.wire += piece

    def deliver(self, side: Side, size: int | None = None) -> None:
        """Hand the first ``size`` bytes on the wire to ``side``, all by default."""
        data = bytes(side.wire[:size])
        del side.wire[: len(data)]
        side.tunnel.receive_data(memoryview(data), self.now)

    def settle(self, cut: int | None = None) -> None:
        """Until nothing moves any more. Bytes arrive in pieces of ``cut``."""
        self.collect()
        while self.client.wire or self.server.wire:
            for side in (self.client, self.server):
                if side.wire:
                    self.deliver(side, cut)
            self.collect()

    def advance(self, seconds: float, *, settle: bool = True) -> None:
        """Let time pass; timers that are due run."""
        self.now += seconds
        for side in (self.client, self.server):
            at = side.tunnel.next_timeout()
            if at is not None and at <= self.now:
                side.tunnel.handle_timeout(self.now)
        self.collect()
        if settle:
            self.settle()

    def open_stream(self, data: bytes = b"hello") -> tuple[YamuxStream, YamuxStream]:
        """A stream with ``data`` on it already, as the client and as the server has it."""
        stream = self.client.tunnel.mux.open_stream()
        self.client.tunnel.mux.send_data(stream, data)
        self.settle()
        return stream, self.server.streams[stream.id]

    def send_in_place(self, side: Side, stream: YamuxStream, buffer: bytearray, size: int) -> None:
        """``size`` bytes that lie in ``buffer`` behind room for a header, behind all that waits."""
        self.collect()
        into = memoryview(bytearray(RECORD_BYTES))
        record = side.tunnel.seal_in_place(stream, memoryview(buffer), size, into)
        (self.server if side is self.client else self.client).wire += record


class RawPeer:
    """Holds the keys of an open tunnel and sends any plaintext it likes."""

    def __init__(self, tunnel: Tunnel, send_key: bytes) -> None:
        self.side = Side(tunnel)
        self.send_key = send_key
        self.writer = RecordWriter(ChaCha20Poly1305(send_key), BASE_PLAINTEXT_BYTES)

    def records(self, plaintext: bytes) -> bytes:
        """``plaintext`` in as many records as it needs."""
        step = self.writer.max_plaintext
        view = memoryview(plaintext)
        return b"".join(self.writer.seal(view[at : at + step]) for at in range(0, len(view), step))

    def send(self, plaintext: bytes, now: float = START) -> None:
        self.side.tunnel.receive_data(memoryview(self.records(plaintext)), now)


def raw_client(server: ServerTunnel | None = None, *, payload: bytes = b"", own: Parameters = PLAIN) -> RawPeer:
    """Goes through the handshake with a real ``ServerTunnel``, which then waits for the proof."""
    server = server or new_server()
    initiator = Initiator(
        static=ADMIN, server_public=SERVER_PUBLIC, psk=PSK, ephemeral=CLIENT_EPHEMERAL, payload=payload
    )
    server.receive_data(memoryview(framed(initiator.create_message_1())), START)
    assert names(take_events(server)) == ["AdmissionRequested"]
    server.admit(own, START)
    message = b"".join(server.data_to_send())
    return RawPeer(server, initiator.consume_message_2(message[2:]).send_key)


def raw_server(client: ClientTunnel | None = None, *, payload: bytes = b"") -> RawPeer:
    """Goes through the handshake with a real ``ClientTunnel``, which is open then."""
    client = client or new_client()
    responder = Responder(static=SERVER, psk=PSK, ephemeral=SERVER_EPHEMERAL)
    responder.consume_message_1(b"".join(client.data_to_send())[2:])
    message, result = responder.create_message_2(payload)
    client.receive_data(memoryview(framed(message)), START)
    return RawPeer(client, result.send_key)
