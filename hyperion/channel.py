"""The control channel: messages of ``hyperion.proto.control`` over one connected stream socket.

Knows the socket and how much may wait on either side of it; the bytes of a message are ``hyperion.framing``'s. Does not
know what a message means, whose turn it is, or how a process is ended: whoever receives ``ChannelError`` ends the
process at the other end.

Works on a socketpair of either kind: Unix where there is one, loopback TCP on Windows; on asyncio and on uvloop.
"""

import asyncio
import socket
from collections import deque
from typing import Generic, Self, cast

import msgspec

from hyperion.framing import ChannelError, FrameReader, Incoming, encode
from hyperion.proto.control import Message, SupervisorToWorker, WorkerToSupervisor

__all__ = ["Channel", "ChannelError", "FrameReader", "encode", "open_supervisor_end", "open_worker_end"]

#: Decoded messages that may wait for ``receive``. A faster sender is slowed by the socket, not kept in our memory.
MAX_WAITING_MESSAGES = 256
#: Bytes that may wait to be written: an end that leaves so much unread is stuck. A heartbeat has about 100 bytes.
MAX_UNSENT_BYTES = 1024 * 1024


class Channel(asyncio.Protocol, Generic[Incoming]):
    """One end of a control channel. One task receives; anything on the loop sends.

    Open it with ``open_supervisor_end`` or ``open_worker_end``: they know which direction decodes what.
    """

    def __init__(self, decoder: msgspec.msgpack.Decoder[Incoming]) -> None:
        self._reader = FrameReader(decoder)
        self._transport: asyncio.Transport | None = None
        self._inbox: deque[Incoming] = deque()
        self._wake = asyncio.Event()
        self._ended = False
        self._paused = False

    @classmethod
    async def open(cls, sock: socket.socket, decoder: msgspec.msgpack.Decoder[Incoming]) -> Self:
        """Takes over ``sock``, a connected stream socket, which closes with the channel."""
        loop = asyncio.get_running_loop()
        channel = cls(decoder)
        sock.setblocking(False)
        # uvloop wraps a Unix socket as a pipe and refuses it as TCP; Windows has only the TCP kind.
        if hasattr(socket, "AF_UNIX") and sock.family == socket.AF_UNIX:
            await loop.create_unix_connection(lambda: channel, sock=sock)
        else:
            await loop.create_connection(lambda: channel, sock=sock)
        return channel

    def send(self, message: Message) -> None:
        """Queues one message; never blocks. Dropped when the other end is gone: ``receive`` tells that.

        Raises ``ChannelError`` above 64 KiB, or when the other end has not read for a mebibyte.
        """
        frame = encode(message)
        if self._transport is None or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() + len(frame) > MAX_UNSENT_BYTES:
            raise ChannelError(f"the other end of the control channel leaves {MAX_UNSENT_BYTES} bytes unread")
        self._transport.write(frame)

    async def receive(self) -> Incoming | None:
        """The next message; ``None`` when the other end is gone (also in the middle of a message: it died writing).

        Raises ``ChannelError``, each time from then on, when the other end broke the rules.
        """
        while not self._inbox:
            if self._reader.error is not None:
                raise self._reader.error
            if self._ended:
                return None
            self._wake.clear()
            await self._wake.wait()
        message = self._inbox.popleft()
        if self._paused and len(self._inbox) < MAX_WAITING_MESSAGES // 2:
            self._pause(False)
        return message

    def close(self) -> None:
        """Ends the channel after what is queued was written; the other end reads an end of file."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Ends the channel at once: what is queued is lost."""
        if self._transport is not None:
            self._transport.abort()

    def _pause(self, paused: bool) -> None:
        if self._transport is None or self._transport.is_closing() or paused is self._paused:
            return
        self._paused = paused
        if paused:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave like asyncio's but are not of their class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._inbox += self._reader.receive_data(data)
        # After an error nothing more is read: a hostile end cannot keep us busy until it is ended.
        self._pause(self._reader.error is not None or len(self._inbox) >= MAX_WAITING_MESSAGES)
        self._wake.set()

    def connection_lost(self, exc: Exception | None) -> None:
        # A reset (Windows, or a killed process) says the same as an end of file: the other end is gone.
        self._ended = True
        self._transport = None
        self._wake.set()


async def open_supervisor_end(sock: socket.socket) -> Channel[WorkerToSupervisor]:
    """The supervisor's end: receives what workers may say."""
    return await Channel.open(sock, msgspec.msgpack.Decoder(WorkerToSupervisor))


async def open_worker_end(sock: socket.socket) -> Channel[SupervisorToWorker]:
    """A worker's end: receives what the supervisor may say."""
    return await Channel.open(sock, msgspec.msgpack.Decoder(SupervisorToWorker))
