"""Imported by the fork server before anything else: from then on neither it nor a child of it has any right.

A worker gives up its rights itself as well; this is for the moment before, and for the fork server, which lives as long
as the service. An import, because that is all that ``multiprocessing`` lets its fork server do; nowhere else does it do
anything.
"""

import sys
from multiprocessing import forkserver

from hyperion.privileges import harden_worker


def in_fork_server() -> bool:
    """Whether the program that runs is ``from multiprocessing.forkserver import main; main(...)``."""
    return getattr(sys.modules["__main__"], "main", None) is forkserver.main


if in_fork_server():
    harden_worker()
