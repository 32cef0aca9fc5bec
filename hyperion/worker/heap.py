"""How the C library keeps memory that a worker just freed.

Every bulk record lives for a few microseconds in a buffer of 64 KiB. By default glibc gives memory at the end of its
heap back to the kernel as soon as 128 KiB are free there, and fetches it again, page by page, for the next record:
measured, that doubles the cost of sealing one. Other C libraries have no such knob; there nothing happens.
"""

import ctypes
from typing import Final

# From malloc.h of glibc.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

#: Free memory kept at the end of the heap, bytes: a turn of the loop's worth of records. A worker that never carried
#: bulk has none.
KEPT_BYTES: Final = 2 * 1024 * 1024
#: Blocks below this come from the heap, bytes; by default those of 128 KiB are mapped and unmapped one by one.
MAPPED_BYTES: Final = 1024 * 1024


def keep_freed_memory() -> bool:
    """Tell the C library; whether it knows how."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; Windows has no "this process" library at all
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)) and bool(mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES))
