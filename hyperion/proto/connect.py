"""The first bytes of each stream: which port the client wants, and what became of it.

Source: WIRE section 9. There is no host: a server connects to its own 127.0.0.1 and nowhere else.
"""

import enum

from hyperion.proto.errors import RemoteProtocolError

#: A request is the destination port, big-endian.
REQUEST_BYTES = 2
#: A response is one ``ConnectStatus``.
RESPONSE_BYTES = 1


class ConnectStatus(enum.IntEnum):
    """The server's answer. After OK the stream carries the service's bytes; after the others it is reset."""

    OK = 0
    DENIED = 1  # not in the egress list
    UNREACHABLE = 2  # allowed, but nothing answered there


# Calling the class does the same, but takes a microsecond of each connection.
_STATUSES = {int(status): status for status in ConnectStatus}


class ConnectError(RemoteProtocolError):
    """The peer answered a connect request with something that is not in the table."""

    reason = "bad-response"


def encode_request(port: int) -> bytes:
    """Two bytes. ``port`` is 1 to 65,535."""
    return port.to_bytes(REQUEST_BYTES, "big")


def decode_request(data: bytes | bytearray) -> int:
    """The port out of exactly two bytes; 0 is possible and reaches nothing."""
    return int.from_bytes(data, "big")


def decode_response(value: int) -> ConnectStatus:
    """The status out of the one byte. Raises ConnectError."""
    status = _STATUSES.get(value)
    if status is None:
        raise ConnectError("the server gave an unknown answer to a connect request")
    return status
