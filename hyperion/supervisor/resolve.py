"""The one address behind a place to listen on, which may be given by name.

Knows that the name service may hang: a service that runs asks beside its loop (``look_up_all``). Refuses to know who
listens there.
"""

import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple

from hyperion.config import Endpoint
from hyperion.errors import ConfigError, TemporaryError
from hyperion.supervisor.reading import read_again

#: Names that a complaint repeats.
SHOWN_NAMES = 3

Address = tuple[str, int] | tuple[str, int, int, int]


class Resolved(NamedTuple):
    """What ``bind`` takes."""

    family: socket.AddressFamily
    address: Address


LookUp = Callable[[Endpoint], Resolved]


def resolve(endpoint: Endpoint) -> Resolved:
    """The one address a host name stands for: its first IPv4 address, else its first IPv6 address. May take long.

    One, because a listener is one socket a worker; IPv4 first, because ``localhost`` means 127.0.0.1 to most programs.
    Raises ``ConfigError``, ``TemporaryError``.
    """
    try:
        found = socket.getaddrinfo(
            endpoint.host, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
        )
    except (OSError, UnicodeError) as error:  # the latter: a name that cannot be one
        if getattr(error, "errno", None) == socket.EAI_AGAIN:
            raise TemporaryError(f"cannot look up {endpoint.host} now", hint="is the name service up?") from error
        raise ConfigError(f"no such host: {endpoint.host}", hint="give an IP address to listen on") from error
    usable = [entry for entry in found if entry[0] in {socket.AF_INET, socket.AF_INET6}]
    if not usable:
        raise ConfigError(f"{endpoint.host} has no IP address", hint="give an IP address to listen on")
    best = min(usable, key=lambda entry: entry[0] != socket.AF_INET)
    address: Address = best[4]  # type: ignore[assignment]
    return Resolved(best[0], address)


async def look_up_all(endpoints: Iterable[Endpoint]) -> LookUp:
    """Asks for all of them at once, beside the loop; afterwards the answers are there without waiting.

    Raises what ``resolve`` raises, and ``TemporaryError`` if it takes longer than a reload may read.
    """
    wanted = list(endpoints)
    if not wanted:
        return resolve
    what = f"{', '.join(endpoint.host for endpoint in wanted[:SHOWN_NAMES])} could not be looked up"
    answers = await read_again(lambda: {endpoint: resolve(endpoint) for endpoint in wanted}, what)
    return answers.__getitem__
