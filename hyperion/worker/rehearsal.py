"""Runs the protocols once through, in memory, before workers are forked.

Python rewrites a function's code in place once it has run a few times, and fills caches of types and modules. What is
rewritten before the fork is shared by all workers; what each worker rewrites is its own memory: measured, 0.9 MB each.

Knows no key but the two made up here, which open nothing; no socket, no loop, no clock.
"""

from typing import Final

import msgspec

from hyperion.framing import FrameReader, encode
from hyperion.proto.connect import ConnectStatus, decode_request, decode_response, encode_request
from hyperion.proto.control import Poll, SupervisorToWorker
from hyperion.proto.errors import LocalProtocolError
from hyperion.proto.extensions import LEVEL, Parameters
from hyperion.proto.keys import PrivateKey
from hyperion.proto.noise.record import MAX_PLAINTEXT_BYTES
from hyperion.proto.tunnel import AdmissionRequested, ClientTunnel, ServerTunnel, Tunnel, TunnelEvent
from hyperion.proto.yamux.events import StreamData, StreamOpened

#: Sessions played. Python rewrites a function after 8 calls, which most see within two sessions; each takes 5 ms.
ROUNDS: Final = 3
#: Seconds of a session's own time: a few pings.
_SECONDS: Final = 40.0
_PING_EVERY: Final = 5.0


def rehearse(rounds: int = ROUNDS) -> int:
    """Play some sessions, each with a stream in both directions, pings and an end. Returns the bytes that streams sent,
    both ways."""
    sent = 0
    _hear_order()
    server_key, admin_key = (PrivateKey.from_entropy(bytes([number]) * 32) for number in (1, 2))
    for number in range(rounds):
        ephemeral = bytes([number + 3]) * 32
        own = Parameters(x=LEVEL, frame=MAX_PLAINTEXT_BYTES, agent="rehearsal", time=1, ports=(22,), name="rehearsal")
        client = ClientTunnel(
            static=admin_key.raw,
            server_public=server_key.public().raw,
            psk=bytes(32),
            ephemeral=ephemeral,
            now=0.0,
            own=own,
        )
        server = ServerTunnel(static=server_key.raw, psk=bytes(32), ephemeral=ephemeral[::-1], now=0.0)
        sent += _play(client, server, own)
    return sent


def _hear_order() -> None:
    """One message of the supervisor's: a type is studied, with all that it holds, when its first decoder is made."""
    heard = FrameReader(msgspec.msgpack.Decoder(SupervisorToWorker)).receive_data(encode(Poll()))
    if len(heard) != 1:
        raise LocalProtocolError("an order was not understood")


def _play(client: ClientTunnel, server: ServerTunnel, own: Parameters) -> int:
    _exchange(client, server, own)
    stream = client.mux.open_stream()
    client.mux.send_data(stream, encode_request(22))
    _exchange(client, server, own)
    now = 0.0
    while now < _SECONDS:
        now += _PING_EVERY
        client.mux.send_data(stream, b"x")
        for tunnel in (client, server):
            tunnel.handle_timeout(now)
        _exchange(client, server, own)
    client.mux.send_finish(stream)
    _exchange(client, server, own)
    sent = stream.bytes_sent + stream.bytes_received
    client.receive_eof()
    server.receive_eof()
    return sent


def _exchange(client: ClientTunnel, server: ServerTunnel, own: Parameters) -> None:
    """Until neither has anything to say."""
    moved = True
    while moved:
        moved = False
        for source, sink in ((client, server), (server, client)):
            for data in source.data_to_send():
                sink.receive_data(memoryview(data), 0.0)
                moved = True
            for event in _events(sink):
                _answer(sink, event, own)


def _events(tunnel: Tunnel) -> list[TunnelEvent]:
    found = []
    while (event := tunnel.next_event()) is not None:
        found.append(event)
    return found


def _answer(tunnel: Tunnel, event: TunnelEvent, own: Parameters) -> None:
    """As the two ends of a stream do: admit, answer the request, send back what comes."""
    mux = tunnel.mux
    if isinstance(event, AdmissionRequested) and isinstance(tunnel, ServerTunnel):
        tunnel.admit(own, 0.0)
    elif isinstance(event, StreamOpened):
        decode_request(b"\0\x16")
    elif isinstance(event, StreamData):
        mux.consumed(event.stream, len(event.data), 0.0)
        if isinstance(tunnel, ClientTunnel):
            decode_response(ConnectStatus.OK)
        else:
            mux.send_data(event.stream, bytes((ConnectStatus.OK,)))
