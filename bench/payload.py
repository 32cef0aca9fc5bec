"""The bytes that are moved: cheap to make, impossible to mix up unnoticed.

One block of pseudo-random bytes, sent again and again with its number stamped on its first bytes: a block lost, doubled
or out of order changes the SHA-256. The same seed and size give the same bytes at both ends.
"""

import hashlib
import random
from collections.abc import Iterator

#: Bytes of one block: so many that a call of send costs nothing beside the copy, few enough to stay in the L2 cache.
BLOCK_BYTES = 256 * 1024

#: Bytes of the number stamped on each block.
STAMP_BYTES = 8

DIGEST_BYTES = hashlib.sha256().digest_size


def blocks(size: int, seed: int = 0) -> Iterator[memoryview]:
    """Views of ``size`` bytes in all. Each view is overwritten by the next: send it before asking for more."""
    block = bytearray(random.Random(seed).randbytes(BLOCK_BYTES))
    view = memoryview(block)
    for number, start in enumerate(range(0, size, BLOCK_BYTES)):
        block[:STAMP_BYTES] = number.to_bytes(STAMP_BYTES, "big")
        yield view[: min(BLOCK_BYTES, size - start)]


def digest(size: int, seed: int = 0) -> bytes:
    """SHA-256 of the whole payload."""
    hashed = hashlib.sha256()
    for block in blocks(size, seed):
        hashed.update(block)
    return hashed.digest()
