"""What the fork server imports once, so that each worker starts with everything there and shares its memory.

Imported by ``multiprocessing``'s fork server, which holds no secret and no privilege. Freezing moves all objects out of
sight of the garbage collector: it would otherwise write to their headers, and so un-share the pages, in every worker.
"""

import gc

import hyperion.log.chain
import hyperion.worker.main

__all__ = ["hyperion"]

gc.collect()
gc.freeze()
