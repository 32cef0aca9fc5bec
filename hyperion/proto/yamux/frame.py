"""The wire of yamux: the 12-byte header, its types and flags, the go-away codes. Nothing else.

Source: the yamux specification (hashicorp, spec.md); WIRE section 8.1.
"""

import enum
import struct

# --- specification constants

VERSION = 0
HEADER_BYTES = 12
#: Credit that each side of a new stream has without any window update, bytes.
INITIAL_WINDOW_BYTES = 256 * 1024
#: Windows and lengths are unsigned 32 bit on the wire.
MAX_U32 = 2**32 - 1

SYN = 1
ACK = 2
FIN = 4
RST = 8


class FrameType(enum.IntEnum):
    """The second byte of a header."""

    DATA = 0  # length: bytes of body that follow
    WINDOW_UPDATE = 1  # length: credit in addition to what is left
    PING = 2  # length: an opaque value to be echoed
    GO_AWAY = 3  # length: a GoAwayCode


class GoAwayCode(enum.IntEnum):
    """Why a session ends."""

    NORMAL = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2


# --- codec

#: version, type, flags, stream id, length
HEADER = struct.Struct(">BBHII")


def encode_header(frame_type: int, flags: int, stream_id: int, length: int) -> bytes:
    """Twelve bytes. All numbers must fit their fields; the callers see to that."""
    return HEADER.pack(VERSION, frame_type, flags, stream_id, length)
