"""How a local program asks a client's worker for a stream: over the worker's Unix socket, with a socket to hand over.

::

    caller -> worker   port (2 bytes, big endian) | length of the preamble (1 byte) | preamble      + one descriptor
    worker -> caller   Answer (1 byte); all but OK are followed by the reason, a word in ASCII, and the end
    worker -> caller   Ending (1 byte), when the stream is over; nothing: the worker died

The first two bytes and the first three answers are those of WIRE section 9. The descriptor is the local end of the
stream, a connected stream socket: from OK on it belongs to the worker, so a SOCKS client is served without a process
in between, and a broken tunnel resets it. The preamble goes to it before anything of the stream (the SOCKS reply).

The ending is there because a Unix socket knows no reset: without it, a truncated transfer would look complete.
"""

import enum
from typing import NamedTuple

from hyperion.proto.connect import REQUEST_BYTES, ConnectStatus, decode_request, encode_request

#: The reason behind ``NO_TUNNEL``, and everywhere else, when knocks went out and the port stayed shut: trying again may
#: help, as nothing said no.
KNOCK_UNANSWERED = "knock-unanswered"

#: Longest preamble, bytes: what one byte of length can say. A SOCKS reply has ten.
MAX_PREAMBLE_BYTES = 255
#: Longest reason behind an answer, bytes; ours have about twenty.
MAX_REASON_BYTES = 64


class Answer(enum.IntEnum):
    """What became of the request."""

    OK = ConnectStatus.OK
    DENIED = ConnectStatus.DENIED
    UNREACHABLE = ConnectStatus.UNREACHABLE
    NO_TUNNEL = 3  # there is none now, or it broke before the server answered


class Ending(enum.IntEnum):
    """How the stream ended."""

    CLEAN = 0  # an end of file both ways
    BROKEN = 1  # anything else: what arrived may not be all


class Handover(NamedTuple):
    """A request."""

    port: int
    preamble: bytes


def encode_handover(port: int, preamble: bytes = b"") -> bytes:
    """The bytes to send, with the descriptor. ``port`` is 0 to 65,535, ``preamble`` at most 255 bytes."""
    return encode_request(port) + len(preamble).to_bytes(1) + preamble


def decode_handover(data: bytes | bytearray) -> tuple[Handover | None, int]:
    """The request, or ``None`` while it is not whole; and how many bytes to read at most for the rest of it."""
    if len(data) <= REQUEST_BYTES:
        return None, REQUEST_BYTES + 1 - len(data)
    missing = REQUEST_BYTES + 1 + data[REQUEST_BYTES] - len(data)
    if missing > 0:
        return None, missing
    return Handover(decode_request(data[:REQUEST_BYTES]), bytes(data[REQUEST_BYTES + 1 :])), 0


def decode_answer(value: int) -> Answer | None:
    """``None`` for a byte that is no answer."""
    try:
        return Answer(value)
    except ValueError:
        return None
