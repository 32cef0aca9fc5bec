"""Entry points of worker processes: what ``hyperion.supervisor`` starts by name.

Each is a plain function of the control socket and the listening sockets. The first control message is the
configuration; the end of the control channel means that the supervisor is gone, and then so are we.
"""

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Callable

from hyperion import log, loop
from hyperion.channel import Channel, ChannelError, open_worker_end
from hyperion.errors import HyperionError
from hyperion.events import INTERNAL_ERROR
from hyperion.privileges import harden_worker
from hyperion.proto.control import (
    PULSE_SECONDS,
    ClientWorkerConfig,
    Fault,
    LogSettings,
    Ready,
    ServerWorkerConfig,
    SocksConfig,
    SupervisorToWorker,
    WorkerToSupervisor,
)
from hyperion.worker.client import ClientWorker
from hyperion.worker.duties import Worker
from hyperion.worker.server import ServerWorker
from hyperion.worker.socks import SocksWorker

#: Seconds that a worker told to drain by SIGTERM (not by its supervisor) gives its streams.
DRAIN_TIMEOUT = 30.0
#: Young objects that make the garbage collector look: streams come and go by the thousand and hold no cycles, so
#: looking at every 700th object would only cost latency.
GC_THRESHOLD = 20_000

EXIT_OK = 0
EXIT_BUG = 70
EXIT_CONFIG = 78

Control = Channel[SupervisorToWorker]


def server_worker(channel_socket: socket.socket, listeners: list[socket.socket]) -> None:
    """A worker of ``hyperion-server``. Ends with SystemExit."""
    _run(channel_socket, listeners, "hyperion-server")


def client_worker(channel_socket: socket.socket, listeners: list[socket.socket]) -> None:
    """A worker of ``hyperion-client``, for one server, or its SOCKS child. Ends with SystemExit."""
    _run(channel_socket, listeners, "hyperion-client")


def _run(channel_socket: socket.socket, listeners: list[socket.socket], service: str) -> None:
    harden_worker()
    gc.set_threshold(GC_THRESHOLD)
    try:
        code = loop.run(lambda: _serve(channel_socket, listeners, service), watches_sockets=True)
    finally:
        log.close()
    raise SystemExit(code)


async def _serve(channel_socket: socket.socket, listeners: list[socket.socket], service: str) -> int:
    channel = await open_worker_end(channel_socket)
    try:
        return await _work(channel, listeners, service)
    except ChannelError as error:
        log.event(INTERNAL_ERROR, log.error_fields(error))
        return EXIT_BUG
    except HyperionError as error:
        channel.send(Fault(error.message, error.exit_code, error.hint))
        return error.exit_code
    except OSError as error:
        channel.send(Fault(reason=error.strerror or type(error).__name__, exit_code=EXIT_BUG))
        return EXIT_BUG
    finally:
        channel.close()


async def _work(channel: Control, listeners: list[socket.socket], service: str) -> int:
    """From the first message to the last stream."""
    config = await channel.receive()
    if isinstance(config, ServerWorkerConfig):
        _start_log(service, config.log, config.worker)
        worker: Worker = ServerWorker(config, _teller(channel))
    elif isinstance(config, ClientWorkerConfig):
        _start_log(service, config.log, config.server)
        worker = ClientWorker(config, _teller(channel))
    elif isinstance(config, SocksConfig):
        _start_log(service, config.log, "socks")
        worker = SocksWorker(config, _teller(channel))
    else:
        return EXIT_OK if config is None else EXIT_BUG
    await worker.start(listeners)
    _drain_on_sigterm(worker)
    channel.send(Ready(pid=os.getpid()))
    tasks = [
        asyncio.create_task(_obey(channel, worker)),
        asyncio.create_task(_beat(channel, worker)),
        asyncio.create_task(worker.finished.wait()),
    ]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    worker.stop("stop")  # whatever ended us: nothing stays open behind our back
    codes = [result for task in done if type(result := task.result()) is int]
    return max(codes, default=EXIT_OK)


def _start_log(service: str, settings: LogSettings, worker: str) -> None:
    log.configure(service, format=settings.format, level=settings.level, worker=worker, path=settings.path)


def _teller(channel: Control) -> Callable[[WorkerToSupervisor], None]:
    """Tells the supervisor from anywhere, also from within the handling of a connection, where nothing may be raised.

    A supervisor that has not read for a mebibyte is stuck: the channel ends, and then so do we.
    """

    def tell(message: WorkerToSupervisor) -> None:
        try:
            channel.send(message)
        except ChannelError:
            channel.abort()

    return tell


async def _obey(channel: Control, worker: Worker) -> int:
    """Until the supervisor is gone or says something that is no order for us; both end this process."""
    while (message := await channel.receive()) is not None:
        if not worker.handle(message):
            return EXIT_BUG
    worker.stop("supervisor-gone")
    return EXIT_OK


async def _beat(channel: Control, worker: Worker) -> None:
    while True:
        await asyncio.sleep(PULSE_SECONDS)
        channel.send(worker.heartbeat())


def _drain_on_sigterm(worker: Worker) -> None:
    """Somebody ended this one worker by hand: finish its streams.

    Where the loop knows no signals the process just ends.
    """
    try:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.drain, DRAIN_TIMEOUT)
    except NotImplementedError:
        return
