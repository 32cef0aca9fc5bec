"""Frames that were right once, mutated without end, and any bytes at all: no exception, and an answer stays in the
family and between the two addresses of what it answers."""

import random
import secrets
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hyperion.tund.reflect import COUNTED, MAX_FRAME_BYTES, Reflector
from tests.helpers.packets import ipv4, ipv6, udp
from tests.helpers.tun_frames import frame, read, tcp
from tests.unit.tund.test_reflect import ADDRESSES, make, ping

OWN, SERVER, _ = ADDRESSES[4]
OWN6, SERVER6, _ = ADDRESSES[6]
RIGHT = [
    bytes(one)
    for own, server, nobody in ADDRESSES.values()
    for one in (
        tcp(own, server, 51_000, 22),
        tcp(own, server, 51_000, 22, flags=16, data=bytes(100), partial=True),
        tcp(own, server, 40_022, 51_000, flags=18),
        tcp(own, server, 51_000, 23, flags=17),
        tcp(own, nobody, 51_000, 22),
        tcp(nobody, server, 51_000, 22),
        ping(own, server),
    )
]
RIGHT.append(bytes(frame(ipv4(udp(b"x", OWN, SERVER), OWN, SERVER))))
RIGHT.append(bytes(frame(ipv6(udp(b"x", OWN6, SERVER6), OWN6, SERVER6))))


def mutant(chance: random.Random) -> bytes:
    one = bytearray(chance.choice(RIGHT))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        place = chance.randrange(len(one)) if one else 0
        kind = chance.randrange(5)
        if kind == 0 and one:
            one[place] ^= 1 << chance.randrange(8)
        elif kind == 1 and one:
            one[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        elif kind == 2:
            del one[place:]
        elif kind == 3:
            one[place:place] = chance.randbytes(chance.randrange(1, 9))
        else:
            one += chance.randbytes(chance.randrange(64))
    return bytes(one)


def examine(reflector: Reflector, buffer: bytearray, raw: bytes) -> None:
    """One frame, in the pump's one buffer, behind what was in it before."""
    size = len(raw)
    buffer[:size] = raw
    before = dict(reflector.counts)
    written = reflector.reflect(buffer, size)
    after = reflector.counts - Counter(before)
    assert sum(after.values()) - after["unanswered"] <= 1  # which is counted besides
    assert len(buffer) == MAX_FRAME_BYTES
    if not written:
        return
    assert buffer[10] >> 4 == raw[10] >> 4
    old, new = read(raw), read(bytes(buffer[:written]))
    assert (new.source, new.destination) == (old.destination, old.source)
    if reflector.counts["reflected"] > before["reflected"]:
        assert written == size
        assert new.right is old.right
    else:
        assert new.right  # what we make ourselves is right, whatever it answers


def hammer(count: int, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    reflector, target = make(closed=False)
    buffer = bytearray(MAX_FRAME_BYTES)
    for number in range(count):
        examine(reflector, buffer, mutant(chance))
        if number % 1000 == 0:
            target.up = not target.up
            reflector.release("web1")
            reflector.wanted.clear()
    assert set(reflector.counts) == set(COUNTED)
    assert reflector.counts["reflected"] > count // 100


def test_mutants() -> None:
    hammer(20_000, seed=2)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_million_mutants() -> None:
    hammer(1_000_000, seed=secrets.randbits(64))  # looks elsewhere each time, and says where


@given(st.binary(max_size=200), st.sampled_from((b"", bytes(10) + b"\x45", bytes(10) + b"\x60")))
def test_any_bytes(raw: bytes, start: bytes) -> None:
    reflector, _ = make()
    buffer = bytearray(MAX_FRAME_BYTES)
    buffer[: len(start + raw)] = start + raw
    assert 0 <= reflector.reflect(buffer, len(start + raw)) <= MAX_FRAME_BYTES
