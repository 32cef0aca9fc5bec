"""One SOCKS client: hear where it wants to go, and hand its socket to the worker of that server.

Knows: names and addresses of servers, and which reply says what. Refuses to know: tunnels, and every byte of the
stream: from the answer on, the socket belongs to the server's worker, and nothing of it is left here.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from typing import Final

from hyperion import log
from hyperion.events import SOCKS_REFUSED
from hyperion.flood import RejectionMeter
from hyperion.proto.handover import Answer, decode_answer
from hyperion.proto.socks import ConnectWanted, Reply, SocksNegotiation, encode_reply
from hyperion.rendezvous import Meeting, call, matching
from hyperion.worker.local_socket import finish_at_close

#: Seconds for the worker's answer: above what it waits itself for a tunnel and for the server.
ANSWER_TIMEOUT: Final = 25.0
#: Seconds that a refused client has to take its reply and leave; closing earlier could destroy the reply on its way.
FAREWELL_TIMEOUT: Final = 1.0
#: Bytes of a refused client that are thrown away meanwhile.
MAX_FAREWELL_BYTES: Final = 64 * 1024

#: What the worker's answers are in SOCKS.
REPLIES: Final = {
    Answer.DENIED: Reply.NOT_ALLOWED,
    Answer.UNREACHABLE: Reply.CONNECTION_REFUSED,
    Answer.NO_TUNNEL: Reply.HOST_UNREACHABLE,
    None: Reply.GENERAL_FAILURE,
}


class SocksClient:
    """An accepted connection; it is closed here, whatever happens."""

    def __init__(self, sock: socket.socket, servers: Sequence[Meeting], meter: RejectionMeter) -> None:
        self._sock = sock
        self._servers = servers
        self._meter = meter
        self._wanted: ConnectWanted | None = None

    async def serve(self) -> None:
        """From the first byte to the answer."""
        with self._sock:
            try:
                wanted = await self._negotiate()
                if wanted is not None:
                    await self._connect(wanted)
            except OSError:  # it hung up
                return

    async def _negotiate(self) -> ConnectWanted | None:
        """``None`` if it did not come to a request."""
        loop = asyncio.get_running_loop()
        machine = SocksNegotiation(time.monotonic())
        deadline = machine.next_timeout()
        assert deadline is not None
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                while machine.wanted:
                    data = await loop.sock_recv(self._sock, machine.wanted)
                    if not data:
                        return None
                    machine.receive_data(data, time.monotonic())
                    if answer := machine.data_to_send():
                        await loop.sock_sendall(self._sock, answer)
        except TimeoutError:
            machine.handle_timeout(deadline)
        event = machine.next_event()
        if isinstance(event, ConnectWanted):
            return event
        self._log("timeout" if event is None else event.reason)
        await self._part()
        return None

    async def _connect(self, wanted: ConnectWanted) -> None:
        self._wanted = wanted
        found = matching(wanted.host, self._servers)
        if not found:
            self._log("unknown-server")
            await self._refuse(Reply.NOT_ALLOWED)
            return
        answer = await self._ask(found[0], wanted.port)
        if answer is Answer.OK:
            return  # the worker has said so, and has the socket
        if answer is None:
            self._log("worker-gone")  # of all else the worker tells the log
        await self._refuse(REPLIES[answer])

    async def _ask(self, meeting: Meeting, port: int) -> Answer | None:
        """``None`` if there is no worker, it died, or it hangs."""
        loop = asyncio.get_running_loop()
        try:
            # Without patience: a worker that hangs must not hold up the clients of all others.
            with call(meeting, port, self._sock, encode_reply(Reply.SUCCEEDED), patience=0) as control:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    said = await loop.sock_recv(control, 1)
        except OSError:  # TimeoutError is one
            return None
        return decode_answer(said[0]) if said else None

    async def _refuse(self, reply: Reply) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, encode_reply(reply))
        await self._part()

    async def _part(self) -> None:
        """Let the client read what it was told."""
        with contextlib.suppress(OSError):
            # The listener, or the worker, had it reset at its close.
            finish_at_close(self._sock)
            self._sock.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(FAREWELL_TIMEOUT):
                for _ in range(MAX_FAREWELL_BYTES // 4096):
                    if not await asyncio.get_running_loop().sock_recv(self._sock, 4096):
                        return

    def _log(self, reason: str) -> None:
        """One line, unless there are too many."""
        try:
            source = self._sock.getpeername()
        except OSError:
            source = ("", 0)
        if not self._meter.admit(source[0], reason, time.monotonic()):
            return
        fields: dict[str, object] = {"source.ip": source[0], "source.port": source[1]}
        if self._wanted is not None:
            fields |= {"destination.address": self._wanted.host, "destination.port": self._wanted.port}
        log.event(SOCKS_REFUSED, fields, reason=reason)
