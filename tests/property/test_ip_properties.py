"""Packets that were right once, mutated without end: no exception, and whatever is still accepted says the same."""

import random
import secrets
from collections.abc import Iterator

import pytest

from hyperion.knockd import bpf
from hyperion.proto.ip import parse_udp
from hyperion.proto.knock import KNOCK_BYTES, KnockTable, Verdict, derive_knock_key, open_knock, seal
from tests.helpers.packets import run_filter, whole_ipv4, whole_ipv6

SERVER = bytes([7] * 32)
KEY = derive_knock_key(bytes(32))
TABLE = KnockTable(SERVER, {"fleet": KEY})
KNOCK = seal(KEY, SERVER, 1_700_000_000, 8443, bytes(range(12)))
RIGHT = (
    whole_ipv4(KNOCK),
    whole_ipv6(KNOCK),
    whole_ipv4(KNOCK) + bytes(18),
    whole_ipv4(KNOCK + bytes(1)),
    whole_ipv6(KNOCK[1:]),
)
FILTERS = {4: bpf.ipv4_program(8443, KNOCK_BYTES), 6: bpf.ipv6_program(8443, KNOCK_BYTES)}


def mutants(count: int, chance: random.Random) -> Iterator[bytes]:
    for _ in range(count):
        packet = bytearray(chance.choice(RIGHT))
        for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
            place = chance.randrange(len(packet)) if packet else 0
            kind = chance.randrange(6)
            if kind == 0 and packet:
                packet[place] ^= 1 << chance.randrange(8)
            elif kind == 1 and packet:
                packet[place] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
            elif kind == 2:
                del packet[place:]
            elif kind == 3:
                packet[place:place] = chance.randbytes(chance.randrange(1, 9))
            elif kind == 4:
                del packet[place : place + chance.randrange(1, 9)]
            else:
                packet += chance.randbytes(chance.randrange(64))
        yield bytes(packet)


def examine(packet: bytes) -> Verdict | None:
    """The verdict on a packet; both ways of looking at its checksum."""
    verdict = None
    for verify in (False, True):
        datagram = parse_udp(packet, verify_checksum=verify)
        if datagram is None:
            continue
        verdict, knock = open_knock(datagram.payload, TABLE)
        assert (knock is not None) == (verdict is Verdict.ACCEPTED) == (datagram.payload == KNOCK)
        if verdict is Verdict.ACCEPTED and datagram.destination_port == 8443:
            # The filter in the kernel is coarser than the parser, never finer.
            assert run_filter(FILTERS[packet[0] >> 4], packet) > 0
    return verdict


@pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=[pytest.mark.long])])
@pytest.mark.timeout(600)
def test_mutated_packets(count: int) -> None:
    # The long form looks elsewhere each time, and says where.
    seed = secrets.randbits(64) if count > 100_000 else 1
    print(f"seed {seed}")
    chance = random.Random(seed)
    seen: dict[Verdict | None, int] = {}
    for packet in mutants(count, chance):
        verdict = examine(packet)
        seen[verdict] = seen.get(verdict, 0) + 1
    print(seen)
    assert sum(seen.values()) == count
    # The mutations reach every stage.
    assert {None, Verdict.ACCEPTED, Verdict.WRONG_LENGTH, Verdict.NOT_AUTHENTIC, Verdict.WRONG_MAGIC} <= seen.keys()


def test_random_bytes() -> None:
    chance = random.Random(2)
    for _ in range(20_000):
        assert examine(chance.randbytes(chance.randrange(120))) is not Verdict.ACCEPTED
