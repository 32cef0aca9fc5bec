"""Ports of loopback for a program that is told where to listen, chosen before it starts. Knows no program."""

import itertools
import os
import socket

#: Below what Linux (from 32768), BSD and Windows (from 49152) give to connections that go out: none of those, and no
#: listener that asks for any port, takes a port of ours between the choice and the program's start.
_FIRST, _LAST = 10_000, 29_999
#: Ports of one process. Processes that run at the same time have different ones, mostly: their numbers lie together.
_BLOCK = 200

_numbers = itertools.count()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on; the same process gives it again only after 199 others.

    Another program may take it first all the same: then whoever was to have it says so and ends. Raises OSError if
    none is free.
    """
    blocks = (_LAST + 1 - _FIRST) // _BLOCK
    first = _FIRST + os.getpid() % blocks * _BLOCK
    for _ in range(_BLOCK):
        port = first + next(_numbers) % _BLOCK
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise OSError(f"no port from {first} to {first + _BLOCK - 1} is free")
