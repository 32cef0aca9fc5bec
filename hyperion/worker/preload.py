"""What the fork server imports once, so that each worker starts with everything there and shares its memory.

Imported by ``multiprocessing``'s fork server, which holds no secret and no privilege. Freezing moves all objects out of
sight of the garbage collector: it would otherwise write to their headers, and so un-share the pages, in every worker.
"""

import concurrent.futures.thread
import contextlib
import encodings.idna
import gc

import hyperion.log.bridge
import hyperion.log.chain
import hyperion.worker.main
from hyperion.errors import ConfigError
from hyperion.loop import find_uvloop
from hyperion.worker.heap import keep_freed_memory
from hyperion.worker.rehearsal import rehearse

# The first two are what loops import when they are first used.
__all__ = ["concurrent", "encodings", "hyperion"]

with contextlib.suppress(ConfigError):  # too old: each worker says so itself
    find_uvloop()
rehearse()
keep_freed_memory()  # a setting of the process, and so of all that are forked from it
gc.collect()
gc.freeze()
