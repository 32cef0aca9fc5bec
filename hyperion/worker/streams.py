"""The worker's end of its Unix socket: local programs (``nc``, the SOCKS child) hand over a socket and get a stream.

Knows: who may call, the request, the answer, the ending (``hyperion.proto.handover``). Refuses to know: what is relayed
(``forward`` does that, as for a local listener) and where the socket lies (the supervisor bound it).
"""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Final, Protocol

from hyperion import log
from hyperion.events import STREAM_DENIED
from hyperion.proto.handover import MAX_REASON_BYTES, Answer, Ending, Handover, decode_handover
from hyperion.worker.acceptor import Acceptor
from hyperion.worker.counters import Counters
from hyperion.worker.deadlines import Deadlines
from hyperion.worker.forward import QUIET, ForwardedStream, log_ended, log_opened
from hyperion.worker.local_socket import make_quick, reset_at_close
from hyperion.worker.poller import Poller
from hyperion.worker.pool import OPEN_TIMEOUT, WaitingStream

#: Seconds that a caller has for its request, which is some bytes that it sends at once.
REQUEST_TIMEOUT: Final = 5.0
#: Not inheritable is the rule of ``socket``, but not of descriptors that are received. (macOS has no such flag, and a
#: worker starts no program.)
_CLOSE_ON_EXEC: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

#: ``struct ucred`` of unix(7): process, user, group.
_UCRED: Final = struct.Struct("3i")

#: What a stream that ended before it was established means to the caller.
_ANSWERS: Final = {"egress-policy": Answer.DENIED, "unreachable": Answer.UNREACHABLE}


class Tunnels(Protocol):
    """What callers ask of a pool."""

    @property
    def reason(self) -> str | None:
        """Why a connection is missing, a short stable word."""

    def open_stream(self, stream: WaitingStream) -> None:
        """Carry it, or end it."""

    def stream_gone(self, stream: WaitingStream) -> None:
        """It ended."""

    def serve_waiting(self) -> None:
        """There may be room for another one."""


class StreamSocket:
    """The listening socket of one server. ``uids``: users who may call; where the kernel does not tell, the directory
    that the socket lies in decides alone."""

    def __init__(self, pool: Tunnels, poller: Poller, server: str, uids: tuple[int, ...], counters: Counters) -> None:
        self.pool = pool
        self.poller = poller
        self.server = server
        self.uids = uids
        self.counters = counters
        self.answers: Deadlines[ForwardedStream] = Deadlines(OPEN_TIMEOUT, lambda stream: stream.end("timeout"))
        self.requests: Deadlines[Caller] = Deadlines(REQUEST_TIMEOUT, lambda caller: caller.close())
        self._acceptor: Acceptor | None = None
        self._callers: set[Caller] = set()
        self._drained: Callable[[], None] = lambda: None

    @property
    def streams(self) -> list[ForwardedStream]:
        """Those that are under way."""
        return [caller.stream for caller in self._callers if caller.stream is not None]

    def start(self, listener: socket.socket, drained: Callable[[], None]) -> None:
        """Accept on ``listener``; ``drained`` is called whenever the last caller left."""
        self._drained = drained
        self._acceptor = Acceptor(listener, self.poller, self.adopt)

    def close(self) -> None:
        """Accept no more; who has not asked yet is sent away."""
        if self._acceptor is not None:
            self._acceptor.close()
        for caller in list(self._callers):
            if not caller.asked:
                caller.close()

    def left(self, caller: "Caller") -> None:
        """This caller is gone, and its stream too."""
        self.requests.remove(caller)
        self._callers.discard(caller)
        if not self._callers:
            self._drained()

    def adopt(self, control: socket.socket) -> None:
        """A caller has connected: hear what it wants, if it may call."""
        if not self._is_welcome(control):
            log.event(STREAM_DENIED, {"hyperion.server.name": self.server}, reason="not-permitted")
            control.close()
            return
        caller = Caller(self, control)
        self._callers.add(caller)
        self.requests.add(caller)
        caller.start()

    def _is_welcome(self, control: socket.socket) -> bool:
        if not hasattr(socket, "SO_PEERCRED"):
            return True
        _, user, _ = _UCRED.unpack(control.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
        return user in self.uids


class Caller:
    """One call, from its request to the end of its stream. The stream sees it as the rule that it belongs to."""

    def __init__(self, owner: StreamSocket, control: socket.socket) -> None:
        self.remote_port = 0
        self.stream: ForwardedStream | None = None
        #: the whole request is there
        self.asked = False
        self._owner = owner
        self._control: socket.socket | None = control
        self._request = bytearray()
        self._preamble = b""
        self._local: socket.socket | None = None
        control.setblocking(False)

    @property
    def poller(self) -> Poller:
        """Watches the handed-over socket."""
        return self._owner.poller

    @property
    def answers(self) -> Deadlines[ForwardedStream]:
        """The deadlines of answers, which all callers share."""
        return self._owner.answers

    def start(self) -> None:
        """Wait for the request."""
        assert self._control is not None
        asyncio.get_running_loop().add_reader(self._control.fileno(), self._readable)

    def close(self) -> None:
        """The end, for caller and stream."""
        self._hang_up()
        if self.stream is not None:
            self.stream.end("caller-gone")  # comes back here, by ``ended``
        else:
            self._leave()

    # --- what a stream asks of its rule

    def began(self, stream: ForwardedStream) -> None:
        """The handed-over socket is ours: find a tunnel."""
        self.stream = stream
        self._owner.counters.streams_total += 1
        self._owner.pool.open_stream(stream)

    def answered(self, stream: ForwardedStream) -> None:
        """The server said yes."""
        self.answers.remove(stream)
        if log.enabled(QUIET):
            log_opened(self._fields(stream))
        if self._local is not None:
            reset_at_close(self._local)
        self._say(bytes((Answer.OK,)))
        if self._preamble:
            stream.say_first(self._preamble)
        self._owner.pool.serve_waiting()

    def ended(self, stream: ForwardedStream, reason: str) -> None:
        """It is over, one way or the other: say so, and leave."""
        self.answers.remove(stream)
        self._owner.counters.bytes_in += stream.bytes_in
        self._owner.counters.bytes_out += stream.bytes_out
        self._owner.pool.stream_gone(stream)
        if not stream.established or log.enabled(QUIET):
            log_ended(stream, self._fields(stream), reason)
        if stream.established:
            self._say(bytes((Ending.CLEAN if reason == "finished" else Ending.BROKEN,)))
        else:
            told = self._owner.pool.reason or reason if reason == "no-tunnel" else reason
            self._say(bytes((_ANSWERS.get(reason, Answer.NO_TUNNEL),)) + told.encode()[:MAX_REASON_BYTES])
        self.stream = None
        self._local = None  # the stream closes it
        self._hang_up()
        self._leave()

    # --- inside

    def _readable(self) -> None:
        """A part of the request; or, behind it, the end: a SOCKS child leaves as soon as it has its answer."""
        assert self._control is not None
        wanted = decode_handover(self._request)[1]
        try:
            data, descriptors, _, _ = socket.recv_fds(self._control, max(wanted, 1), 1, _CLOSE_ON_EXEC)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors = b"", []
        self._keep(descriptors)
        if self.asked or not data:
            self._caller_left()
            return
        self._request += data
        request, _ = decode_handover(self._request)
        if request is not None:
            self._on_request(request)

    def _caller_left(self) -> None:
        if self.stream is not None and self.stream.established:
            self._hang_up()  # nobody wants to know the ending
        else:
            self.close()

    def _leave(self) -> None:
        if self._local is not None:
            self._local.close()
            self._local = None
        self._owner.left(self)

    def _keep(self, descriptors: list[int]) -> None:
        """The first one is the local end of the stream; one that is no connected stream socket is none."""
        for descriptor in descriptors:
            if self._local is not None or (sock := _stream_socket(descriptor)) is None:
                os.close(descriptor)
            else:
                self._local = sock

    def _on_request(self, request: Handover) -> None:
        self.asked = True
        self._owner.requests.remove(self)
        if self._local is None:
            self.close()
            return
        self.remote_port, self._preamble = request
        make_quick(self._local)
        ForwardedStream(self, self._local).begin()

    def _say(self, data: bytes) -> None:
        """Some bytes into a buffer that nothing else is in. A caller that left need not hear."""
        if self._control is not None:
            with contextlib.suppress(OSError):
                self._control.send(data)

    def _hang_up(self) -> None:
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    def _fields(self, stream: ForwardedStream) -> dict[str, object]:
        return {
            "hyperion.server.name": self._owner.server,
            "destination.port": self.remote_port,
            "hyperion.stream.id": stream.stream_id,
        }


def _stream_socket(descriptor: int) -> socket.socket | None:
    """The socket behind ``descriptor``, which it then owns; ``None`` if it is anything else."""
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError:
        return None
    try:
        sock.getpeername()
    except OSError:
        connected = False
    else:
        connected = sock.type == socket.SOCK_STREAM
    if connected:
        return sock
    sock.detach()
    return None
