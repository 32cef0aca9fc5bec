"""Control messages as bytes: four bytes of length, big endian, then msgpack of one tagged struct.

Pure, and without asyncio: a child that turns packets round must stay small. Knows the limits. Does not know the socket
(``hyperion.channel``), what a message means, whose turn it is, or how a process is ended.
"""

import struct
from typing import Generic, TypeVar

import msgspec

from hyperion.errors import ChildError
from hyperion.proto.control import MAX_MESSAGE_BYTES, Message

LENGTH = struct.Struct(">I")

Incoming = TypeVar("Incoming", bound=Message)


class ChannelError(ChildError):
    """The other end said what it may not say, or does not listen. The message holds numbers and names of ours only."""


def encode(message: Message, limit: int = MAX_MESSAGE_BYTES) -> bytes:
    """One framed message. Raises ``ChannelError`` above ``limit`` bytes: the other end would refuse it."""
    body = msgspec.msgpack.encode(message)
    if len(body) > limit:
        raise ChannelError(f"control message {type(message).__name__} has {len(body)} bytes, at most {limit}")
    return LENGTH.pack(len(body)) + body


class FrameReader(Generic[Incoming]):
    """Cuts bytes into messages. Pure: no socket, no loop; a test can feed it anything.

    After the first error it only discards: nothing behind a broken frame can be trusted.
    """

    def __init__(self, decoder: msgspec.msgpack.Decoder[Incoming], limit: int = MAX_MESSAGE_BYTES) -> None:
        """``limit``: longest message that is taken, bytes."""
        self._decoder = decoder
        self._limit = limit
        self._buffer = bytearray()
        self.error: ChannelError | None = None

    def receive_data(self, data: bytes) -> list[Incoming]:
        """The messages completed by ``data``. A violation is kept in ``error``; messages before it still count."""
        messages: list[Incoming] = []
        if self.error is not None:
            return messages
        self._buffer += data
        while self.error is None and (body := self._next_body()) is not None:
            try:
                messages.append(self._decoder.decode(body))
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                # The decoder quotes tags and keys of the other end: say only what kind of error it was.
                self._fail(f"control message of {len(body)} bytes was refused: {type(error).__name__}")
        return messages

    def _next_body(self) -> bytes | None:
        if len(self._buffer) < LENGTH.size:
            return None
        (length,) = LENGTH.unpack_from(self._buffer)
        # Judged before the body is awaited, so a lie about the length costs no memory.
        if length > self._limit:
            self._fail(f"control message announces {length} bytes, at most {self._limit}")
            return None
        if len(self._buffer) < LENGTH.size + length:
            return None
        body = bytes(self._buffer[LENGTH.size : LENGTH.size + length])
        del self._buffer[: LENGTH.size + length]
        return body

    def _fail(self, message: str) -> None:
        self.error = ChannelError(message)
        self._buffer.clear()
