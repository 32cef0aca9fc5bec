"""One real worker process, started without a supervisor: the test holds the other end of its control channel."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import msgspec

from hyperion.framing import FrameReader, encode
from hyperion.proto.admins import AdminRule, Roster
from hyperion.proto.control import (
    ClientWorkerConfig,
    ForwardRule,
    Heartbeat,
    LogSettings,
    Message,
    Ready,
    ServerWorkerConfig,
    Stop,
    TunnelState,
    WorkerToSupervisor,
)

_START = """
import socket, sys
from hyperion.worker.main import {entry}
control, *listeners = (socket.socket(fileno=int(number)) for number in sys.argv[1:])
{entry}(control, listeners)
"""

#: Seconds that a worker has to say what is waited for.
WAIT_SECONDS = 20.0


class WorkerProcess:
    """A worker serving on ``listeners``, ready when entered. Its log is in ``log`` after the end."""

    def __init__(self, entry: str, config: Message, listeners: list[socket.socket]) -> None:
        self._reader: FrameReader[WorkerToSupervisor] = FrameReader(msgspec.msgpack.Decoder(WorkerToSupervisor))
        self._waiting: list[WorkerToSupervisor] = []
        self._control, theirs = socket.socketpair()
        self._control.settimeout(WAIT_SECONDS)
        numbers = [theirs.fileno(), *(listener.fileno() for listener in listeners)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START.format(entry=entry), *map(str, numbers)],
            pass_fds=numbers,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        theirs.close()
        for listener in listeners:
            listener.close()
        self.log = ""
        self.send(config)

    def __enter__(self) -> "WorkerProcess":
        try:
            self.wait_for(Ready)
        except BaseException:  # __exit__ is not called then, and nothing may outlive a test
            self.process.kill()
            self.process.communicate()
            self._control.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # it may have ended already
            self.send(Stop())
        try:
            self.log = self.process.communicate(timeout=WAIT_SECONDS)[1].decode()
        finally:
            self.process.kill()
            self._control.close()

    def send(self, message: Message) -> None:
        """Says something as the supervisor."""
        self._control.sendall(encode(message))

    def wait_for(self, kind: type[WorkerToSupervisor]) -> WorkerToSupervisor:
        """The next message of this kind; others are dropped."""
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            while self._waiting:
                message = self._waiting.pop(0)
                if isinstance(message, kind):
                    return message
            self._waiting += self._reader.receive_data(self._receive())
        raise AssertionError(f"no {kind.__name__} from the worker")

    def _receive(self) -> bytes:
        data = b""
        with contextlib.suppress(ConnectionResetError):  # it ended before it had read its configuration
            data = self._control.recv(65_536)
        if not data:
            raise AssertionError(f"the worker ended: {self.process.communicate(timeout=WAIT_SECONDS)[1].decode()}")
        return data

    def wait_up(self, count: int) -> None:
        """Until ``count`` tunnels of a client worker are up."""
        state = self.wait_for(TunnelState)
        while not (isinstance(state, TunnelState) and state.up >= count):
            state = self.wait_for(TunnelState)

    def wait_idle(self) -> Heartbeat:
        """Until a heartbeat tells of no session and no stream."""
        while True:
            beat = self.wait_for(Heartbeat)
            if isinstance(beat, Heartbeat) and beat.sessions == beat.streams == 0:
                return beat


def server_worker(
    static_secret: bytes, psk: bytes, admins: dict[bytes, tuple[int, ...]], *, handshake_timeout: float = 3.0
) -> tuple[WorkerProcess, int]:
    """A server worker on a port of 127.0.0.1; ``admins`` maps a public key to the ports it may reach."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    port: int = listener.getsockname()[1]
    config = ServerWorkerConfig(
        worker="worker-0",
        static_secret=static_secret,
        psk=psk,
        admins=Roster.of(AdminRule(key, f"admin{number}", allow) for number, (key, allow) in enumerate(admins.items())),
        handshake_timeout=handshake_timeout,
        server_name="interop",
        log=LogSettings(format="json"),
    )
    return WorkerProcess("server_worker", config, [listener]), port


def client_worker(
    server_port: int,
    server_public: bytes,
    static_secret: bytes,
    psk: bytes,
    remote_ports: list[int],
    pool_size: int = 1,
) -> tuple[WorkerProcess, list[int]]:
    """A client worker with one forward for each remote port, and the local ports of these forwards."""
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=256) for _ in remote_ports]
    local_ports: list[int] = [listener.getsockname()[1] for listener in listeners]
    config = ClientWorkerConfig(
        server="interop",
        host="127.0.0.1",
        port=server_port,
        server_public=server_public,
        static_secret=static_secret,
        psk=psk,
        pool_size=pool_size,
        forwards=tuple(
            ForwardRule(f"127.0.0.1:{local}", remote) for local, remote in zip(local_ports, remote_ports, strict=True)
        ),
        log=LogSettings(format="json"),
    )
    return WorkerProcess("client_worker", config, listeners), local_ports
