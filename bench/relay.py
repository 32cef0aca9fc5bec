"""An unencrypted TCP relay on uvloop: two of them in a row are what Python could do if hyperion's work were free.

``python -m bench.relay PORT [PORT...]`` listens on a free loopback port for each target port, prints the ports as a
JSON list, and relays until SIGTERM. Written as anyone would write it well: flow control both ways, half-close kept, no
task that lives as long as its connection.
"""

import asyncio
import json
import signal
import sys
from functools import partial
from typing import cast

import uvloop

#: Bytes that may wait in a transport before its peer stops reading: two reads of uvloop, so the pump never runs dry.
HIGH_WATER_BYTES = 512 * 1024

#: Connections the kernel queues for us.
BACKLOG = 1024


class End(asyncio.Protocol):
    """One end of a relayed connection; what it reads is written to the other end."""

    def __init__(self, other: "End | None" = None) -> None:
        self.transport: asyncio.Transport | None = None
        self.other = other
        self.ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's own class, which asyncio's does not know
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def data_received(self, data: bytes) -> None:
        self._other_transport().write(data)

    def eof_received(self) -> bool:
        assert self.other is not None
        self.ended = True
        other = self._other_transport()
        if not other.is_closing():
            other.write_eof()
        if self.other.ended:  # both ways: nobody else would close them
            other.close()
            return False
        return True  # half-close: the other direction lives on

    def pause_writing(self) -> None:
        self._other_transport().pause_reading()

    def resume_writing(self) -> None:
        self._other_transport().resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is None or self.other.transport is None:
            return
        if exc is None:
            self.other.transport.close()
        else:
            self.other.transport.abort()

    def _other_transport(self) -> asyncio.Transport:
        assert self.other is not None
        return self.other._own_transport()

    def _own_transport(self) -> asyncio.Transport:
        assert self.transport is not None
        return self.transport


class Inbound(End):
    """The accepted end. What comes before the target is connected is kept: it is one read at most."""

    def __init__(self, target_port: int, dials: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._target_port = target_port
        self._dials = dials
        self._early: list[bytes] = []
        self._early_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        dial = asyncio.get_running_loop().create_task(self._dial())
        self._dials.add(dial)
        dial.add_done_callback(self._dials.discard)

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            super().data_received(data)
            return
        self._early.append(data)
        # Not in connection_made: uvloop starts to read after that call, whatever it asked for.
        self._own_transport().pause_reading()

    def eof_received(self) -> bool:
        if self.other is not None:
            return super().eof_received()
        self._early_end = True
        return True

    async def _dial(self) -> None:
        try:
            _, outbound = await asyncio.get_running_loop().create_connection(
                lambda: End(other=self), "127.0.0.1", self._target_port
            )
        except OSError:
            self._own_transport().abort()
            return
        self.other = outbound
        self._other_transport().writelines(self._early)
        if self._early_end:
            super().eof_received()
        if self._own_transport().is_closing():
            self._other_transport().close()
        else:
            self._own_transport().resume_reading()


async def relay(target_ports: list[int]) -> None:
    """Relay until SIGTERM."""
    running = asyncio.get_running_loop()
    stopping = asyncio.Event()
    running.add_signal_handler(signal.SIGTERM, stopping.set)
    dials: set[asyncio.Task[None]] = set()
    ports = []
    for target in target_ports:
        server = await running.create_server(partial(Inbound, target, dials), "127.0.0.1", 0, backlog=BACKLOG)
        ports.append(server.sockets[0].getsockname()[1])
    print(json.dumps(ports), flush=True)
    await stopping.wait()


if __name__ == "__main__":
    uvloop.run(relay([int(port) for port in sys.argv[1:]]))
