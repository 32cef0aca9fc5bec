"""The operator socket: one request, one answer, and the connection is over.

Knows who may ask (by the credentials that the kernel vouches for) and how long anybody may take. Refuses to know what a
request means: each kind has a handler, given by whoever starts the service. A caller that is slow, silent or hostile
costs its own connection and nothing else.

The user and group that the kernel tells are those of the moment of ``connect``; the process id is never a reason for
anything (it may be another's by now).
"""

import asyncio
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Final, cast

import msgspec

from hyperion import log
from hyperion.channel import ChannelError, FrameReader, encode
from hyperion.errors import HyperionError, InternalError
from hyperion.events import ADMIN_COMMAND, INTERNAL_ERROR
from hyperion.proto.operator import (
    MAX_ANSWER_BYTES,
    MAX_REQUEST_BYTES,
    Answer,
    ProofRequest,
    Refused,
    Request,
    StatusRequest,
)

#: Callers at once; more are hung up on. A person has one, a monitoring system a few.
MAX_CALLERS = 16
#: Seconds from the connection to the whole request, and from the answer to its last byte taken.
CALLER_TIMEOUT = 5.0

#: ``struct ucred``: process, user, group.
_CREDENTIALS = struct.Struct("3i")

#: The file of the socket is removed by whoever made it (``residence``). From Python 3.13 on a loop would do so as well,
#: by the name that the socket was bound to, which may mean another file by now (``socket_path``).
_OUR_FILE: Final[dict[str, Any]] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}

Handler = Callable[[Any], Awaitable[Answer]]


class ControlSocket:
    """Serves ``sock``, a listening Unix socket, to the users ``uids``. ``handlers``: one for each kind of request."""

    def __init__(self, sock: socket.socket, uids: Collection[int], handlers: Mapping[type[Request], Handler]) -> None:
        self._socket = sock
        self._uids = frozenset(uids)
        self._handlers = handlers
        self._decoder: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
        self._server: asyncio.Server | None = None
        self._callers: set[_Caller] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """From now on callers are answered."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Caller(self), sock=self._socket, **_OUR_FILE)

    def close(self) -> None:
        """No more callers; those that wait for an answer are hung up on."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        for caller in list(self._callers):
            caller.abort()

    # --- what a caller needs

    def reader(self) -> FrameReader[Request]:
        """For one request."""
        return FrameReader(self._decoder, MAX_REQUEST_BYTES)

    def enter(self, caller: "_Caller", uid: int | None) -> bool:
        """Whether this user may ask now. ``uid`` is ``None`` where the system does not tell: the directory is closed
        to others there, too."""
        if len(self._callers) >= MAX_CALLERS or (uid is not None and uid not in self._uids):
            return False
        self._callers.add(caller)
        return True

    def leave(self, caller: "_Caller") -> None:
        """It hung up."""
        self._callers.discard(caller)

    def serve(self, caller: "_Caller", request: Request, uid: int | None) -> None:
        """Answers in a task of its own; what was begun is finished also if the caller has left."""
        task = asyncio.create_task(self._serve(caller, request, uid))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, caller: "_Caller", request: Request, uid: int | None) -> None:
        answer = await self._answer(request)
        if not isinstance(request, (StatusRequest, ProofRequest)):  # who only looks is not worth a line
            outcome = "failure" if isinstance(answer, Refused) else "success"
            fields = {"user.id": "" if uid is None else str(uid), "event.outcome": outcome}
            log.event(ADMIN_COMMAND, fields, reason=str(request.__struct_config__.tag).removesuffix("-request"))
        caller.answer(answer)

    async def _answer(self, request: Request) -> Answer:
        handler = self._handlers.get(type(request))
        if handler is None:
            return Refused("this program does not do that", None, InternalError.exit_code)
        try:
            return await handler(request)
        except HyperionError as error:
            return Refused(error.message, error.hint, error.exit_code)
        except Exception as error:  # noqa: BLE001 - a bug in an answer must not end the service
            log.event(INTERNAL_ERROR, log.error_fields(error))
            return Refused(f"internal error: {type(error).__name__}", "see its log", InternalError.exit_code)


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: ControlSocket) -> None:
        self._server = server
        self._reader = server.reader()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._uid: int | None = None
        self._asked = False

    def answer(self, answer: Answer) -> None:
        """The one answer; then the end."""
        if self._transport is None or self._transport.is_closing():
            return
        try:
            frame = encode(answer, MAX_ANSWER_BYTES)
        except ChannelError as error:
            frame = encode(Refused(str(error), None, InternalError.exit_code))
        self._arm()
        self._transport.write(frame)
        self._transport.close()

    def abort(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.abort()

    def _arm(self) -> None:
        self._disarm()
        self._timer = asyncio.get_running_loop().call_later(CALLER_TIMEOUT, self.abort)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._uid = peer_uid(transport.get_extra_info("socket"))
        if self._server.enter(self, self._uid):
            self._arm()
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        requests = self._reader.receive_data(data)
        if self._asked or self._reader.error is not None or len(requests) > 1:
            self.abort()
        elif requests:
            self._asked = True
            self._disarm()
            self._server.serve(self, requests[0], self._uid)

    def eof_received(self) -> bool:
        # It may have shut down its sending half and wait for the answer.
        return self._asked

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self._transport = None
        self._server.leave(self)


def peer_uid(sock: Any) -> int | None:
    """The user at the other end, as the kernel noted it at ``connect``; ``None`` where it does not."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(credentials)[1])
