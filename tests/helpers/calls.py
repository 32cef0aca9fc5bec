"""A ``Rig`` whose client worker has a stream socket, and callers of it."""

import asyncio
import os
import socket
from pathlib import Path

import msgspec

from hyperion.proto.control import ClientWorkerConfig
from hyperion.proto.handover import Answer, Ending
from hyperion.rendezvous import Meeting, call
from hyperion.socket_path import short
from tests.helpers.rig import WAIT_SECONDS, Rig


class CalledRig(Rig):
    """``meeting`` is where its client worker answers; ``path`` must be short enough for a Unix socket."""

    def __init__(
        self,
        path: Path,
        *ports: int,
        uids: tuple[int, ...] | None = None,
        allow: tuple[int, ...] | None = None,
        link: bool = False,
        wait: bool = True,
    ) -> None:
        super().__init__(*ports, allow=allow, link=link, wait=wait)
        self.meeting = Meeting("web1", str(path))
        self._uids = (os.getuid(),) if uids is None else uids
        self._calls = bind(path)
        self._listeners.append(self._calls)

    def client_config(self, port: int) -> ClientWorkerConfig:
        return msgspec.structs.replace(super().client_config(port), stream_uids=self._uids)

    async def call(self, port: int, preamble: bytes = b"") -> "Call":
        """A caller with one end of a pair of Unix sockets."""
        ours, theirs = socket.socketpair()
        try:
            control = call(self.meeting, port, theirs, preamble, patience=WAIT_SECONDS)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        return await Call.open(control, ours)


class Call:
    """The caller's side: what the worker says, and the stream."""

    def __init__(
        self, control: asyncio.StreamReader, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.control = control
        self.reader = reader
        self.writer = writer
        self._writers: list[asyncio.StreamWriter] = [writer]

    @classmethod
    async def open(cls, control: socket.socket, local: socket.socket) -> "Call":
        heard, spoken = await asyncio.open_unix_connection(sock=control)
        reader, writer = await asyncio.open_unix_connection(sock=local, limit=1 << 18)
        made = cls(heard, reader, writer)
        made._writers.append(spoken)
        return made

    async def answer(self) -> Answer | None:
        """The first byte; ``None`` if the worker just hung up, with the request unread or not."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                said = await self.control.read(1)
        except ConnectionResetError:
            return None
        return Answer(said[0]) if said else None

    async def reason(self) -> str:
        """What follows an answer that is not OK."""
        async with asyncio.timeout(WAIT_SECONDS):
            return (await self.control.read()).decode()

    async def ending(self) -> Ending | None:
        """The last byte; ``None`` if there was none."""
        async with asyncio.timeout(WAIT_SECONDS):
            said = await self.control.read(1)
        return Ending(said[0]) if said else None

    def close(self) -> None:
        """Hang up, and close the stream's socket."""
        for writer in self._writers:
            writer.close()


def bind(path: Path, backlog: int = 64) -> socket.socket:
    """A listening socket at a path of any length."""
    sock = socket.socket(socket.AF_UNIX)
    with short(str(path)) as name:
        sock.bind(name)
    sock.listen(backlog)
    return sock


def reach(path: Path) -> socket.socket:
    """A connection to it. Raises ``OSError``."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        with short(str(path)) as name:
            sock.connect(name)
    except OSError:
        sock.close()
        raise
    return sock
