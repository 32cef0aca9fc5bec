"""``proto.noise.seen``: a bounded memory that forgets the oldest first."""

from hyperion.proto.noise.seen import MAX_EPHEMERALS, SeenEphemerals


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_remembers() -> None:
    seen = SeenEphemerals()
    assert key(1) not in seen
    seen.add(key(1))
    assert key(1) in seen
    assert key(2) not in seen


def test_forgets_the_oldest() -> None:
    seen = SeenEphemerals()
    for number in range(MAX_EPHEMERALS + 1):
        seen.add(key(number))
    assert key(0) not in seen
    assert all(key(number) in seen for number in range(1, MAX_EPHEMERALS + 1))


def test_the_same_key_twice_takes_one_place() -> None:
    seen = SeenEphemerals(limit=2)
    for number in (1, 2, 2, 2):
        seen.add(key(number))
    assert key(1) in seen
