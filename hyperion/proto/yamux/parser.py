"""Cuts a byte stream into frames: whole headers, and bodies in parts as they arrive.

Knows where a header ends, how much of a body is left, and how many frames are enough for one turn. Refuses to know
what frames mean: a subclass says. A base class and not a part: one call less for each of the some 10,000 records a
second.

Source: WIRE sections 8.1 and 17 (Q22: a body may be larger than any buffer of ours, so it is never gathered).
"""

from abc import ABC, abstractmethod

from hyperion.proto.yamux.frame import HEADER, HEADER_BYTES

#: version, type, flags, stream id, length
HeaderFields = tuple[int, int, int, int, int]

#: More frames than ever come.
ALL_FRAMES = 1 << 62


class FrameParser(ABC):
    """Holds the part of a header that has come, never a body; and what was left over of a turn."""

    def __init__(self) -> None:
        self._header = b""
        #: bytes of body still to come; set by ``_on_frame``
        self._body_left = 0
        #: set by the subclass: everything that follows is discarded
        self._over = False
        #: frames that this turn may still take, from however many calls of ``receive_data``; what follows is kept for
        #: ``receive_more``. A driver sets it at the beginning of each turn, or never.
        self.frames_left = ALL_FRAMES
        self._rest = bytearray()

    @property
    def has_more(self) -> bool:
        """Frames are left over for ``receive_more``."""
        return bool(self._rest) and not self._over

    @abstractmethod
    def _on_frame(self, fields: HeaderFields, now: float) -> None:
        """A header. Sets ``_body_left`` if a body follows."""

    @abstractmethod
    def _on_body(self, piece: memoryview) -> None:
        """The next bytes of the body, at least one; ``_body_left`` is what follows them."""

    def _parse(self, data: memoryview, now: float) -> None:
        """Take bytes of the peer, cut anywhere."""
        if self._rest:  # they have their turn first
            self._rest += data
            return
        position = 0
        end = len(data)
        frames = self.frames_left
        while not self._over and position < end:
            if self._body_left:
                piece = data[position : position + self._body_left]
                position += len(piece)
                self._body_left -= len(piece)
                self._on_body(piece)
            elif frames <= 0 and not self._header:
                self._rest += data[position:]
                break
            elif self._header or end - position < HEADER_BYTES:
                part = data[position : position + HEADER_BYTES - len(self._header)]
                position += len(part)
                self._header += part
                if len(self._header) == HEADER_BYTES:
                    frames -= 1
                    header, self._header = self._header, b""
                    self._on_frame(HEADER.unpack(header), now)
            else:
                frames -= 1
                fields = HEADER.unpack_from(data, position)
                position += HEADER_BYTES
                self._on_frame(fields, now)
        self.frames_left = frames
