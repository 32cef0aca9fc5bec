"""A peer with valid keys that sends any frames it likes: its tunnel ends or goes on, and never says much."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from hyperion.proto.errors import RemoteProtocolError
from hyperion.proto.tunnel import ServerTunnel, TunnelFailed, TunnelState
from hyperion.proto.yamux.events import StreamData
from hyperion.proto.yamux.frame import HEADER_BYTES, encode_header
from tests.helpers.pair import (
    RawPeer,
    raw_client,
    raw_server,
    take_events,
)

DATA, UPDATE, PING, GO_AWAY = range(4)
WINDOW = 262_144


def random_frame(rng: random.Random) -> bytes:
    """Twelve random bytes, most of them with a version and a type that exist, and some more."""
    header = bytearray(rng.randbytes(HEADER_BYTES))
    if rng.random() < 0.9:
        header[0] = 0
        header[1] %= 4
    return bytes(header) + rng.randbytes(rng.randrange(20))


def grammatical_frame(rng: random.Random) -> bytes:
    """A frame as the specification has it, of a peer that keeps most of the rules."""
    stream_id = rng.choice([1, 3, 5, 7, 9, 2, 4, rng.randrange(1_024)])
    flags = rng.choice([0, 0, 0, 0, 1, 1, 2, 4, 8, rng.randrange(16)])
    kind = rng.choices([DATA, UPDATE, PING, GO_AWAY], [50, 40, 10, 0.1])[0]
    if kind == DATA:
        body = rng.randbytes(rng.choice([0, 1, 2, rng.randrange(200)]))
        return encode_header(DATA, flags, stream_id, len(body)) + body
    if kind == PING:
        return encode_header(PING, rng.choice([0, 1]), rng.choice([0, 0, 1]), rng.randrange(2**32))
    return encode_header(kind, flags, stream_id, rng.choice([0, 1, 1_000, WINDOW]))


@dataclass
class Tally:
    frames: int = 0
    tunnels: int = 0
    violations: int = 0
    bodies: int = 0
    kinds: set[str] = field(default_factory=set)


def one_hostile_peer(
    make: Callable[[], RawPeer], frame: Callable[[random.Random], bytes], rng: random.Random, tally: Tally, most: int
) -> None:
    """Send frames until the tunnel ends, or ``most``. The tunnel may say no more than it was told, and a little."""
    peer = make()
    tunnel = peer.side.tunnel
    heard = 0
    tally.tunnels += 1
    for _ in range(most):
        data = frame(rng)
        heard += len(data)
        tally.frames += 1
        peer.send(data)
        for event in take_events(tunnel):
            tally.kinds.add(type(event).__name__)
            tally.violations += isinstance(event, TunnelFailed)
            tally.bodies += isinstance(event, StreamData)
            if isinstance(event, TunnelFailed):
                assert isinstance(event.error, RemoteProtocolError)
        if tunnel.state is TunnelState.FAILED or "PeerWentAway" in tally.kinds:
            break
        if rng.random() < 0.05:
            heard = 0
            tunnel.data_to_send()
    pending = sum(len(piece) for piece in tunnel.data_to_send())
    # at most a header for a header; a ping of our own, a go-away, and what sealing adds
    assert pending <= heard + 2 * HEADER_BYTES + (heard // 16_384 + 2) * 18
    if isinstance(tunnel, ServerTunnel):
        assert pending <= (64 + 2) * HEADER_BYTES + 18
    tally.kinds.discard("PeerWentAway")


def flood(make: Callable[[], RawPeer], frame: Callable[[random.Random], bytes], count: int, seed: int) -> Tally:
    tally, rng = Tally(), random.Random(seed)
    while tally.frames < count:
        one_hostile_peer(make, frame, rng, tally, most=min(1_000, count - tally.frames))
    assert tally.frames == count
    return tally


MAKERS = [raw_client, raw_server]


@pytest.mark.parametrize("make", MAKERS)
def test_random_frames(make: Callable[[], RawPeer]) -> None:
    assert flood(make, random_frame, 1_500, 1).violations > 50


@pytest.mark.parametrize("make", MAKERS)
def test_grammatical_frames(make: Callable[[], RawPeer]) -> None:
    tally = flood(make, grammatical_frame, 5_000, 2)
    assert tally.violations > 10
    if make is raw_client:
        assert tally.bodies > 200
        assert {"StreamOpened", "StreamData", "StreamFinished", "StreamReset"} <= tally.kinds


@pytest.mark.long
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize("frame", [random_frame, grammatical_frame])
@pytest.mark.parametrize("make", MAKERS)
def test_100_000_frames(make: Callable[[], RawPeer], frame: Callable[[random.Random], bytes]) -> None:
    tally = flood(make, frame, 100_000, 3)
    print(f"{frame.__name__} {make.__name__}: {tally}")
