"""A genuine knock, changed."""

import random


def mutated(right: bytes, other: bytes, chance: random.Random) -> bytes:
    """Anything but ``right``."""
    match chance.randrange(5):
        case 0:
            bit = chance.randrange(8 * len(right))
            return right[: bit // 8] + bytes([right[bit // 8] ^ 1 << bit % 8]) + right[bit // 8 + 1 :]
        case 1:
            return right[: chance.randrange(len(right))]
        case 2:
            return right + chance.randbytes(chance.randrange(1, 60))
        case 3:
            cut = chance.randrange(5, 43)  # both begin alike
            return right[:cut] + other[cut:]
        case _:
            return b"HVPK" + chance.randbytes(40)
