"""Where somebody who logged in anew says so: one request, one answer, over a socket that only our own user can reach.

Knows nothing of what is believed: a judge, handed in, does.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from pathlib import Path

import msgspec

from hyperion.channel import Channel, ChannelError
from hyperion.proto.trial import Confirmed, ConfirmRequest, ConfirmToTrial, NotConfirmed
from hyperion.socket_path import short

#: Seconds that a caller may take for its request.
REQUEST_TIMEOUT = 2.0
#: Seconds without accepting after that failed.
RETRY_SECONDS = 0.25

Judge = Callable[[ConfirmRequest], Confirmed | NotConfirmed]


class Desk:
    """Listens at ``path``, whose directory nobody else may enter."""

    def __init__(self, path: Path, judge: Judge) -> None:
        self._path = path
        self._judge = judge
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def open(self) -> None:
        """Raises ``OSError``. Called in a running loop."""
        # What is there belongs to a trial that is dead: we hold the lock.
        self._path.unlink(missing_ok=True)
        self._socket.setblocking(False)
        with short(self._path) as name:
            self._socket.bind(name)
        self._socket.listen(8)
        self._spawn(self._serve())

    def close(self) -> None:
        """Twice does no harm."""
        for task in self._tasks:
            task.cancel()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self) -> None:
        while True:
            try:
                caller, _ = await asyncio.get_running_loop().sock_accept(self._socket)
            except OSError:  # no descriptor left, or the caller left: somebody may still confirm in time
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._spawn(self._answer(caller))

    async def _answer(self, caller: socket.socket) -> None:
        channel = await Channel.open(caller, msgspec.msgpack.Decoder(ConfirmToTrial))
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT):
                request = await channel.receive()
        except (TimeoutError, ChannelError):
            channel.abort()
            return
        if request is not None:
            channel.send(self._judge(request))
        channel.close()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
