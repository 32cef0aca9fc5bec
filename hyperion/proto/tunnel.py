"""A tunnel: one handshake, then yamux inside Noise records, over one TCP connection. What the adapters drive.

::

    client:  HANDSHAKE ── message 2 good ────────────────────────────> OPEN
    server:  HANDSHAKE ── message 1 good ──> ADMISSION ── admit() ──> PROOF ── first record opens ──> OPEN
             any of these ── refused ──> SILENT (reads on, answers nothing, until the deadline) ──> FAILED

Knows: the order of things, lengths before authentication, the one deadline for everything before OPEN. Refuses to know:
sockets, who is allowed, what streams carry.

Why PROOF: in IKpsk2 the PSK enters with message 2, so message 1 proves neither the PSK nor that it is fresh. A client
counts only when its first record opened (WIRE Q6, Q7). Why SILENT: every refused client sees the same thing, a server
that says nothing and hangs up at the deadline, whatever it did wrong.

Source: WIRE sections 6, 7, 8 and 19; DESIGN section 4.
"""

import enum
from collections import deque

import msgspec
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from hyperion.proto.errors import HandshakeError, LocalProtocolError, ProtocolError, RecordError
from hyperion.proto.extensions import PLAIN, Parameters, decode_parameters, encode_parameters
from hyperion.proto.noise.handshake import KEY_BYTES, MESSAGE_MAX_BYTES, HandshakeResult, Initiator, Responder
from hyperion.proto.noise.record import BASE_PLAINTEXT_BYTES, LENGTH_BYTES, RecordReader, RecordWriter
from hyperion.proto.noise.seen import SeenEphemerals
from hyperion.proto.yamux.events import SessionFailed, YamuxEvent
from hyperion.proto.yamux.frame import HEADER_BYTES
from hyperion.proto.yamux.limits import YamuxLimits
from hyperion.proto.yamux.session import YamuxSession
from hyperion.proto.yamux.stream import YamuxStream

#: Seconds from the first byte to OPEN, when the configuration does not say otherwise (DESIGN section 8).
HANDSHAKE_TIMEOUT = 3.0

#: Bytes held of a peer that has proven nothing: one handshake message and its length.
_MAX_HANDSHAKE_BYTES = LENGTH_BYTES + MESSAGE_MAX_BYTES


class TunnelState(enum.Enum):
    """See the drawing above."""

    HANDSHAKE = enum.auto()
    ADMISSION = enum.auto()
    PROOF = enum.auto()
    OPEN = enum.auto()
    SILENT = enum.auto()
    FAILED = enum.auto()


# A member of an enumeration is looked up with two calls, for each read of the socket; a tuple is not.
_TAKES_RECORDS = (TunnelState.OPEN, TunnelState.PROOF)


class AdmissionRequested(msgspec.Struct, frozen=True):
    """A client holds this static key (not yet: the PSK). The driver answers with ``admit`` or ``refuse``."""

    peer_public: bytes
    parameters: Parameters


class TunnelOpened(msgspec.Struct, frozen=True):
    """Both sides are proven: streams may flow."""

    peer_public: bytes
    parameters: Parameters


class TunnelRefused(msgspec.Struct, frozen=True):
    """The handshake is lost; the peer is kept in the dark until the deadline. For the log."""

    error: ProtocolError


class TunnelFailed(msgspec.Struct, frozen=True):
    """The tunnel is over: send what is left, then hang up."""

    error: ProtocolError


TunnelEvent = AdmissionRequested | TunnelOpened | TunnelRefused | TunnelFailed | YamuxEvent


class Tunnel:
    """What both roles share. Build a ``ClientTunnel`` or a ``ServerTunnel``."""

    def __init__(self, *, client: bool, own: Parameters, deadline: float, limits: YamuxLimits) -> None:
        self.state = TunnelState.HANDSHAKE
        self._deadline = deadline
        self._own = own
        self._peer = PLAIN
        self._peer_public = b""
        self._handshake_data = bytearray()
        self._events: deque[TunnelEvent | SessionFailed] = deque()
        self._outgoing: list[bytes | bytearray] = []
        #: the streams inside; what it queues goes out with ``data_to_send``
        self.mux = YamuxSession(client=client, limits=limits, events=self._events)
        self._reader: RecordReader | None = None
        self._writer: RecordWriter | None = None
        self._refusal: ProtocolError | None = None
        self._failure: TunnelFailed | None = None
        self._room: memoryview | None = None

    def read_into(self, room: memoryview) -> None:
        """For a driver that takes all events after each ``receive_data``: their data lies in ``room``, and only until
        the next call (of any tunnel with the same room). Call it before the first bytes come."""
        self._room = room

    # --- the verbs

    @property
    def max_body(self) -> int:
        """Largest Data body that fits one record together with its header, bytes."""
        return (self._writer.max_plaintext if self._writer else BASE_PLAINTEXT_BYTES) - HEADER_BYTES

    def receive_data(self, data: memoryview, now: float) -> None:
        """Take bytes of the peer, cut anywhere. Never raises on what they are."""
        if self._reader is not None and self.state in _TAKES_RECORDS:
            self._receive_records(self._reader, data, now)
        elif self.state in (TunnelState.HANDSHAKE, TunnelState.ADMISSION):
            self._receive_handshake(data, now)

    def receive_eof(self) -> None:
        """The peer's TCP stream ended. There is no polite end below yamux: it is always a failure."""
        if self.state is not TunnelState.FAILED:
            cut = self._reader is not None and self._reader.mid_record
            error = RecordError("the connection ended inside a record" if cut else "the connection was closed")
            error.reason = "truncated" if cut else "peer-closed"
            self.fail(self._refusal or error)

    def next_event(self) -> TunnelEvent | None:
        """The oldest event not yet taken. The failure is the last one: what came before it still counts."""
        if not self._events:
            return self._last_event(None)
        event = self._events.popleft()
        return self._last_event(event) if type(event) is SessionFailed else event

    def data_to_send(self) -> list[bytes | bytearray]:
        """Everything for the peer since the last call, in order: frames queued by the session are sealed now."""
        if self._writer is not None and self.mux.pending:
            self._seal_pending(self._writer)
        outgoing = self._outgoing
        if outgoing:
            self._outgoing = []
        return outgoing

    def next_timeout(self) -> float | None:
        """When ``handle_timeout`` wants to be called."""
        if self.state is TunnelState.OPEN:
            return self.mux.next_timeout()
        return None if self.state is TunnelState.FAILED else self._deadline

    def handle_timeout(self, now: float) -> None:
        """Pings while open; before that, the deadline that ends everything."""
        if self.state is TunnelState.OPEN:
            self.mux.handle_timeout(now)
        elif self.state is not TunnelState.FAILED and now >= self._deadline:
            self.fail(self._refusal or HandshakeError("the handshake took too long", reason="handshake-timeout"))

    def seal_in_place(self, stream: YamuxStream, buffer: memoryview, size: int, into: memoryview) -> memoryview:
        """The record for ``size`` bytes that lie in ``buffer`` behind HEADER_BYTES of room for a frame header.

        The hot path: header and body become one record with one call of the AEAD, straight from the buffer that the
        local socket was read into. At most ``max_body`` and the stream's ``send_window`` bytes. ``buffer`` is free on
        return; the record lies at the start of ``into``. It must be sent before anything else is asked of the tunnel.
        Raises LocalProtocolError if that is too early, or something waits in ``data_to_send``, which comes first.
        """
        writer = self._writer
        if writer is None or self._outgoing or self.mux.pending:
            raise LocalProtocolError("the tunnel is not open, or has something else to send")
        self.mux.put_data_header(stream, size, buffer)
        return writer.seal_into(buffer[: HEADER_BYTES + size], into)

    def refuse(self, reason: str) -> None:
        """The peer may not come in. A server does not tell it. Raises LocalProtocolError if it is in already."""
        if self.state is TunnelState.OPEN:
            raise LocalProtocolError("nobody asked for admission")
        self._refuse(HandshakeError("the peer is not admitted", reason=reason))

    def fail(self, error: ProtocolError) -> None:
        """The one exit."""
        if self.state is not TunnelState.FAILED:
            self.state = TunnelState.FAILED
            self._failure = TunnelFailed(error)
            self.mux.fail(error)

    # --- inside

    def _last_event(self, event: SessionFailed | None) -> TunnelFailed | None:
        """The failure, once, behind everything else. If the session failed, its error came first, so it is told."""
        if event is not None:
            self.fail(event.error)
            self._failure = TunnelFailed(event.error)
        failure, self._failure = self._failure, None
        return failure

    def _receive_handshake(self, data: memoryview, now: float) -> None:
        """Collect one message: its length and 4,096 bytes at most."""
        pending = self._handshake_data
        room = _MAX_HANDSHAKE_BYTES - len(pending)
        pending += data[:room]
        if self.state is not TunnelState.HANDSHAKE or len(pending) < LENGTH_BYTES:
            return
        end = LENGTH_BYTES + int.from_bytes(pending[:LENGTH_BYTES], "big")
        if not LENGTH_BYTES < end <= _MAX_HANDSHAKE_BYTES:
            self._refuse(HandshakeError("a handshake message of forbidden length", reason="malformed"))
        elif len(pending) >= end:
            self._handshake_data = bytearray()
            try:
                self._on_message(bytes(pending[LENGTH_BYTES:end]), now)
            except HandshakeError as error:
                self._refuse(error)
            else:
                self._receive_early(bytes(pending[end:]) + bytes(data[room:]), now)

    def _receive_early(self, data: bytes, now: float) -> None:
        """Bytes that came right behind a handshake message: records, if the keys are known.

        If they are not, the driver has not decided yet, and an honest client has nothing to say: what is kept is just
        enough to fail at.
        """
        if self._reader is None:
            self._handshake_data += data[:_MAX_HANDSHAKE_BYTES]
        elif data:
            self._receive_records(self._reader, memoryview(data), now)

    def _on_message(self, message: bytes, now: float) -> None:
        raise LocalProtocolError("a tunnel has a role")

    def _refuse(self, error: ProtocolError) -> None:
        self.fail(error)

    def _start_transport(self, result: HandshakeResult, peer: Parameters) -> None:
        """Keys are known. Each side takes records as large as it said, and sends none larger than the peer said."""
        self._peer = peer
        self._peer_public = result.peer_public
        extended = peer.x >= 1
        largest_in = self._own.frame if extended else BASE_PLAINTEXT_BYTES
        largest_out = min(self._own.frame, peer.frame) if extended else BASE_PLAINTEXT_BYTES
        self._reader = RecordReader(ChaCha20Poly1305(result.receive_key), largest_in)
        if self._room is not None:
            self._reader.open_into(self._room)
        self._writer = RecordWriter(ChaCha20Poly1305(result.send_key), largest_out)

    def _open(self, now: float) -> None:
        self.state = TunnelState.OPEN
        self._events.append(TunnelOpened(self._peer_public, self._peer))
        self.mux.handle_timeout(now)  # the first ping: it is also the client's proof to the server

    def _receive_records(self, reader: RecordReader, data: memoryview, now: float) -> None:
        failure: RecordError | None = None
        try:
            plaintexts = reader.receive_data(data)
        except RecordError as error:
            plaintexts, failure = reader.salvaged, error
        if plaintexts and self.state is TunnelState.PROOF:
            self._open(now)
        for plaintext in plaintexts:
            if plaintext:
                self.mux.receive_data(plaintext, now)
        if failure is not None:
            self._lose(failure)

    def _lose(self, error: RecordError) -> None:
        """A record did not open. If it was the first, the client does not have the PSK, or replays."""
        if self.state is TunnelState.PROOF:
            self._refuse(HandshakeError("the first record did not open", reason="bad-psk"))
        else:
            self.fail(error)

    def _seal_pending(self, writer: RecordWriter) -> None:
        pending = memoryview(self.mux.data_to_send())
        step = writer.max_plaintext
        for start in range(0, len(pending), step):
            self._outgoing.append(writer.seal(pending[start : start + step]))


class ClientTunnel(Tunnel):
    """The initiator. ``ephemeral`` is 32 fresh random bytes; ``now`` starts the handshake's deadline."""

    def __init__(
        self,
        *,
        static: bytes,
        server_public: bytes,
        psk: bytes,
        ephemeral: bytes,
        now: float,
        own: Parameters = PLAIN,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        limits: YamuxLimits | None = None,
    ) -> None:
        super().__init__(client=True, own=own, deadline=now + handshake_timeout, limits=limits or YamuxLimits())
        payload = encode_parameters(own) if own.x else b""
        self._initiator = Initiator(
            static=static, server_public=server_public, psk=psk, ephemeral=ephemeral, payload=payload
        )
        message = self._initiator.create_message_1()
        self._outgoing.append(len(message).to_bytes(LENGTH_BYTES, "big") + message)

    def _on_message(self, message: bytes, now: float) -> None:
        initiator = self._initiator
        del self._initiator  # good for one message, and it holds our static key
        result = initiator.consume_message_2(message)
        self._start_transport(result, decode_parameters(result.payload))
        self._open(now)


class ServerTunnel(Tunnel):
    """The responder. Stops for the driver's decision between the two messages.

    ``seen`` is shared by a worker's tunnels.
    """

    def __init__(
        self,
        *,
        static: bytes,
        psk: bytes,
        ephemeral: bytes,
        now: float,
        seen: SeenEphemerals | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
        limits: YamuxLimits | None = None,
    ) -> None:
        super().__init__(client=False, own=PLAIN, deadline=now + handshake_timeout, limits=limits or YamuxLimits())
        self._secrets = (static, psk, ephemeral)
        self._seen = seen if seen is not None else SeenEphemerals()
        self._responder: Responder | None = None
        self._client_ephemeral = b""

    def admit(self, own: Parameters, now: float) -> None:
        """The client may come in: send message 2. ``own`` goes out only to a client that speaks extensions, too.

        Does nothing if the tunnel ended since the driver was asked. Raises LocalProtocolError if nobody asked.
        """
        if self.state in (TunnelState.SILENT, TunnelState.FAILED):
            return
        if self.state is not TunnelState.ADMISSION or self._responder is None:
            raise LocalProtocolError("nobody asked for admission")
        self._seen.add(self._client_ephemeral)
        self._own = own
        payload = encode_parameters(own) if self._peer.x else b""
        try:
            message, result = self._responder.create_message_2(payload)
        except HandshakeError as error:
            self._refuse(error)
            return
        self._responder = None
        self._outgoing.append(len(message).to_bytes(LENGTH_BYTES, "big") + message)
        self._start_transport(result, self._peer)
        self.state = TunnelState.PROOF
        early, self._handshake_data = bytes(self._handshake_data), bytearray()
        self._receive_early(early, now)

    def _on_message(self, message: bytes, now: float) -> None:
        static, psk, ephemeral = self._secrets
        del self._secrets  # good for one message
        self._client_ephemeral = message[:KEY_BYTES]
        if self._client_ephemeral in self._seen:
            raise HandshakeError("message 1 was seen before", reason="replay")
        self._responder = Responder(static=static, psk=psk, ephemeral=ephemeral)
        peer_public, payload = self._responder.consume_message_1(message)
        self._peer = decode_parameters(payload)
        self.state = TunnelState.ADMISSION
        self._events.append(AdmissionRequested(peer_public, self._peer))

    def _refuse(self, error: ProtocolError) -> None:
        """Tell the driver, but not the peer: stay silent until the deadline."""
        if self.state not in (TunnelState.SILENT, TunnelState.FAILED):
            self.state = TunnelState.SILENT
            self._refusal = error
            self._responder = None
            self._handshake_data.clear()
            self._events.append(TunnelRefused(error))
