"""One place on the network: a host and a TCP port, and their text form.

Knows the grammar of addresses. Resolves nothing and binds nothing.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self

MAX_PORT = 65_535

#: Where listeners are unless somebody says otherwise: only this machine reaches them.
LOOPBACK = "127.0.0.1"

#: Longest host name, characters (RFC 1035 section 2.3.4), and longest label of one.
MAX_HOST_CHARS = 253
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (IPv4, IPv6 without brackets, or a name) and a port (0 = any free one, where that makes sense)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, lowest_port: int = 1) -> Self:
        """From ``192.0.2.1:8443``, ``host.name:8443`` or ``[2001:db8::1]:8443``.

        Raises ``ValueError``, which says what is wrong and repeats nothing.
        """
        host, colon, port_text = text.rpartition(":")
        if not colon:
            raise ValueError("there is no port")
        if not _PORT.fullmatch(port_text):
            raise ValueError("the port is not a number")
        port = int(port_text)
        if not lowest_port <= port <= MAX_PORT:
            raise ValueError(f"the port is not between {lowest_port} and {MAX_PORT}")
        return cls(_parse_host(host), port)

    def collides(self, other: "Endpoint") -> bool:
        """Whether only one can listen: the same port of the same host. Port 0 is any free one, and never collides."""
        return self.port != 0 and (self.port, self.host.lower()) == (other.port, other.host.lower())

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _parse_host(host: str) -> str:
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            raise ValueError("there is no IPv6 address between the brackets") from None
    if ":" in host:
        raise ValueError("an IPv6 address needs brackets, like [2001:db8::1]:8443")
    labels = host.removesuffix(".").split(".")
    # A name whose last label is a number is meant as an IPv4 address (as the URL standard reads it), so a slip like
    # 10.0.0.256 is caught here and not looked up as a name.
    if labels[-1].isdecimal():
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError("the IPv4 address is not valid") from None
    if len(host) > MAX_HOST_CHARS or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host name is not valid")
    return host
