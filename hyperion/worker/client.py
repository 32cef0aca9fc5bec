"""The client's worker: one server, its pool of tunnels, its local listeners. One instance per process.

Knows: which listener leads where, drain. Refuses to know: other servers (a dead one delays nobody) and how sockets were
bound.
"""

import asyncio
import socket
from collections.abc import Callable

from hyperion import log
from hyperion.events import LISTENER_STARTED
from hyperion.proto.control import (
    ClientWorkerConfig,
    DeviceDown,
    DeviceUp,
    Heartbeat,
    Poll,
    SupervisorToWorker,
    TunnelState,
    WantPort,
    WorkerToSupervisor,
)
from hyperion.worker.connector import Connector, Target
from hyperion.worker.duties import Worker
from hyperion.worker.forward import Forward, ForwardedStream
from hyperion.worker.marked import MarkedSockets
from hyperion.worker.pool import Pool
from hyperion.worker.streams import StreamSocket
from hyperion.worker.transparent import TransparentPorts


class ClientWorker(Worker):
    """Everything one client worker owns. ``tell`` reaches the supervisor: it hears of each change of the pool."""

    def __init__(self, config: ClientWorkerConfig, tell: Callable[[WorkerToSupervisor], None]) -> None:
        super().__init__(tell)
        self._closing: asyncio.Task[None] | None = None
        keys = (config.server_public, config.static_secret, config.psk)
        target = Target(config.server, config.host, config.port, *keys, knock=config.knock)
        self._sockets = MarkedSockets()
        self._is_marked = config.marked
        self._pool = Pool(Connector(target, self._sockets), config.pool_size, self._pool_changed)
        self._forwards = [
            Forward(self._pool, self._poller, config.server, rule.local, rule.remote_port, self._counters)
            for rule in config.forwards
        ]
        self._calls = StreamSocket(self._pool, self._poller, config.server, config.stream_uids, self._counters)
        self._is_called = bool(config.stream_uids)
        self._transparent = TransparentPorts(
            self._pool, self._poller, config.server, self._counters, tell, self._finish_if_drained
        )

    async def start(self, listeners: list[socket.socket]) -> None:
        """Accept on the sockets handed over, in the order of the configured forwards, and begin to connect.

        Behind them come the stream socket, if there is one, and the place where marked sockets are asked for.
        """
        if self._is_marked:
            *listeners, desk = listeners
            self._sockets.use(desk)
        self._poller.open()
        if self._is_called:
            *listeners, calls = listeners
            self._calls.start(calls, self._finish_if_drained)
        for forward, listener in zip(self._forwards, listeners, strict=True):
            forward.start(listener, self._finish_if_drained)
            log.event(LISTENER_STARTED, forward.rule_fields())
        self._pool.start()

    def handle(self, message: SupervisorToWorker) -> bool:
        """Obey the supervisor. False if a client worker knows no such order."""
        match message:
            case Poll():
                super().handle(message)
                self._pool.tell()
            case DeviceUp():
                if not self._draining:
                    self._transparent.device_up(message)
            case DeviceDown():
                self._transparent.device_down()
            case WantPort(port=port):
                self._transparent.want(port)
            case _:
                return super().handle(message)
        return True

    def stop(self, reason: str) -> None:
        """End every stream and tunnel now."""
        self._draining = True
        self._pool.hurry()
        self._take_nothing_new()
        for stream in self._streams():
            stream.end(reason)
        self._end(reason)

    def heartbeat(self) -> Heartbeat:
        """The counters of now."""
        running = [(stream.bytes_in, stream.bytes_out) for stream in self._streams()]
        return self._counters.heartbeat(len(self._pool.connections), running)

    def _take_nothing_new(self) -> None:
        for forward in self._forwards:
            forward.close()
        self._calls.close()
        self._transparent.close()

    def _streams(self) -> list[ForwardedStream]:
        forwarded = [stream for forward in self._forwards for stream in forward.streams]
        return [*forwarded, *self._calls.streams, *self._transparent.streams]

    def _pool_changed(self, state: TunnelState) -> None:
        """First our own listeners: whoever hears that the tunnel stands may come at once."""
        if state.up:
            self._transparent.allow(state.ports)
        self._tell(state)

    def _end(self, reason: str) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(reason))

    async def _close(self, reason: str) -> None:
        await self._pool.close(reason)
        self._poller.close()
        self._sockets.close()
        self.finished.set()

    def _finish_if_drained(self) -> None:
        if self._draining and not self._streams():
            self._end("drain")
