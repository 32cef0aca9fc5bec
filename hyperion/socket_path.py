"""A path of a Unix socket that the kernel takes, however long the real one is.

``sun_path`` has 108 bytes on Linux, and a runtime directory may lie deep: a longer path is reached by way of an open
descriptor of its directory. Linux only, as that way goes through ``/proc``; elsewhere a long path is refused by the
system, in its own words. Imported by commands that somebody waits for, so it imports nothing of ours.
"""

import contextlib
import os
from collections.abc import Iterator

#: Longest path of a Unix socket, bytes: ``sun_path`` has 108 on Linux, 104 on BSD and macOS, one of them for the end.
MAX_PATH_BYTES = 103


@contextlib.contextmanager
def short(path: str | os.PathLike[str]) -> Iterator[str]:
    """A name for ``path`` that fits, for the time of the block: to bind to or to connect to. Raises ``OSError``."""
    text = os.fspath(path)
    if len(os.fsencode(text)) <= MAX_PATH_BYTES:
        yield text
        return
    directory = os.open(os.path.dirname(text), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{os.path.basename(text)}"
    finally:
        os.close(directory)
