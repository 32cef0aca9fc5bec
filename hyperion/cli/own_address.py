"""By which name and address this machine, and who sits at it, might be known elsewhere: a guess, for a person to see.

Sends nothing: the kernel is asked which address it would speak from.
"""

import getpass
import ipaddress
import socket

from hyperion.config.endpoint import Endpoint
from hyperion.config.name import is_name

#: Anywhere far away (documentation addresses, RFC 5737 and RFC 3849).
_FAR_AWAY = ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1"))

#: Shown where there is nothing to guess from.
UNKNOWN_HOST = "THIS-SERVER"
DEFAULT_NAME = "server1"


def guess_address(listen: Endpoint) -> Endpoint:
    """Where clients might find this server: what it listens on, else the address that this machine speaks from."""
    if not _is_everywhere(listen.host):
        return listen
    for family, far in _FAR_AWAY:
        own = _source_towards(family, far)
        if own is not None:
            return Endpoint(own, listen.port)
    return Endpoint(UNKNOWN_HOST, listen.port)


def is_public(host: str) -> bool:
    """Whether everybody can reach it; a name may be anything, and is believed."""
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return host != UNKNOWN_HOST


def guess_name(hostname: str) -> str:
    """How a client might call this server."""
    name = hostname.split(".")[0].lower()
    return name if is_name(name) and name.isascii() and name != "localhost" else DEFAULT_NAME


def guess_admin(hostname: str) -> str | None:
    """How a server's log might call the admin who sits here: as ssh-keygen calls a key. ``None``: no idea."""
    try:
        name = f"{getpass.getuser()}@{hostname.split('.')[0]}"
    except (OSError, KeyError):  # a uid without a name
        return None
    return name if is_name(name) and name.isascii() else None


def _is_everywhere(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _source_towards(family: int, far: str) -> str | None:
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((far, 9))
            return str(sock.getsockname()[0])
    except OSError:
        return None
