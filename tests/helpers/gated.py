"""A server behind its gate in one namespace, and clients that dial it from others.

The server, knockd and the ruleset are the real ones; in ``Gated`` the test takes the supervisor's part towards knockd.
"""

import asyncio
import contextlib
import hashlib
import json
import random
import re
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench import tunnel
from bench.tunnel import make_key, program, quote
from hyperion.config.keyfile import read_secret
from hyperion.proto.connect import encode_request
from hyperion.proto.control import KnockOrder
from hyperion.proto.control_knockd import GateState, Revoke
from hyperion.proto.errors import RecordError
from hyperion.proto.keys import PrivateKey, PublicKey
from hyperion.proto.knock import derive_knock_key, seal
from hyperion.worker.connection import StreamOwner, TunnelConnection
from hyperion.worker.connector import ConnectFailed, Connector, Step, Target, TunnelSession
from tests.helpers.gate import service
from tests.helpers.knockd_process import PORT, SET, TABLE, KnockdProcess, elements, load_table, send
from tests.helpers.netns import Host, Topology
from tests.helpers.program import Program
from tests.helpers.waiting import until

#: Where the server's own service listens: it sends back what it gets.
ECHO_PORT = 7_007
FORWARD_LINE = re.compile(tunnel.FORWARD_LINE)
PSK = bytes(range(32))
PSK_TEXT = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@dataclass(frozen=True, slots=True)
class Dial:
    """One dial, from the first knock to the first byte of the service; seconds. ``reason`` if there was none."""

    seconds: float
    steps: tuple[Step, ...]
    knocks: int
    reason: str | None = None


class Behind:
    """A server behind its gate, its keys, and what a client needs to dial it. Use it in a ``with`` block."""

    #: A command that starts the server in other surroundings, options of ``run``, and the ports that it allows.
    prefix: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    ports: tuple[int, ...] = (ECHO_PORT,)

    def __init__(self, network: Topology, directory: Path, *, ttl: int, one_shot: bool) -> None:
        self.network = network
        self.directory = directory
        self.server_public = make_key("server", directory / "server.key")
        self.admin_public = make_key("client", directory / "admin.key")
        load_table(network.server, one_shot=one_shot)
        public = PublicKey.parse(self.server_public).raw
        secret = PrivateKey.parse(read_secret(directory / "admin.key")).raw
        order = KnockOrder(derive_knock_key(PSK), PORT)
        self.target = Target("web1", network.server.ipv4, PORT, public, secret, PSK, order)
        self._clients: list[Program] = []
        self.server = self._start_server(ttl, one_shot=one_shot)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for running in (*self._clients, self.server):
            running.end()

    def _gate_lines(self, ttl: int, *, one_shot: bool) -> list[str]:
        """The sections of the server's configuration about its gate."""
        raise AssertionError

    def _start_server(self, ttl: int, *, one_shot: bool) -> Program:
        config = self.directory / "server.toml"
        lines = [
            f'listen = "[::]:{PORT}"',
            "[key]",
            'source = "value"',
            f"value = {quote(PSK_TEXT)}",
            "[identity]",
            f"static_key_file = {quote(self.directory / 'server.key')}",
            f"admin_pubkeys = [{quote(self.admin_public)}]",
            "[egress]",
            f"allow = {list(self.ports)}",
            *self._gate_lines(ttl, one_shot=one_shot),
            "",
        ]
        config.touch(mode=0o600)
        config.write_text("\n".join(lines), encoding="utf-8")
        run = [*program("server"), "run", "--config", str(config), "--workers", "2", "--log-format", "json"]
        command = [*self.prefix, *run, *self.options]
        environment = {"HYPERION_HOME": str(self.directory)}
        return Program("hyperion-server", self.network.server.command(*command), environment=environment)

    def wait_ready(self) -> None:
        """The server serves, and its gate works."""
        self.server.wait_events("service-started")

    def shut(self, *sources: str) -> None:
        """End the grants of ``sources`` (the admin's, unless told) and wait until nobody is in."""
        raise AssertionError

    def client_file(self, address: str, *, knock: bool = True, name: str = "client", **changes: str) -> Path:
        """A client's configuration with one server; ``changes``: ``psk`` and ``server_public`` in base64."""
        lines = [
            f"admin_static_key_file = {quote(self.directory / 'admin.key')}",
            "[key]",
            'source = "value"',
            f"value = {quote(changes.get('psk', PSK_TEXT))}",
            "[knock]",
            f"enabled = {'true' if knock else 'false'}",
            "[[server]]",
            'name = "web1"',
            f"addr = {quote(f'[{address}]:{PORT}' if ':' in address else f'{address}:{PORT}')}",
            f"server_pubkey = {quote(changes.get('server_public', self.server_public))}",
            "",
        ]
        file = self.directory / f"{name}.toml"
        file.touch(mode=0o600)
        file.write_text("\n".join(lines), encoding="utf-8")
        return file

    def doctor(self, host: Host, file: Path, *options: str) -> tuple[int, str]:
        """``hyperion-client doctor`` in ``host``: its exit code and its output."""
        running = Program(
            "doctor",
            host.command(*program("client"), "doctor", "--config", str(file), *options),
            environment={"HYPERION_HOME": str(self.directory)},
        )
        status = running.wait()
        return status, "\n".join(running.out)

    def examine(self, host: Host, file: Path, *options: str) -> tuple[int, dict[str, Any]]:
        """``doctor --json``: its exit code and what it found of the one server."""
        status, out = self.doctor(host, file, "--json", *options)
        (server,) = json.loads(out)["servers"]
        return status, server

    def client(self, host: Host, address: str) -> tuple[Program, int]:
        """``hyperion-client run`` in ``host``, until the block ends, and the port there that leads to the echo
        service."""
        file = self.client_file(address, name=f"client-{host.role}")
        command = [*program("client"), "run", "--config", str(file), "-L", f"web1:{ECHO_PORT}", "--log-format", "json"]
        environment = {"HYPERION_HOME": str(self.directory / f"home-{host.role}")}
        running = Program("hyperion-client", host.command(*command), environment=environment)
        self._clients.append(running)
        (line,) = running.wait_out(lambda line: FORWARD_LINE.match(line) is not None)
        found = FORWARD_LINE.match(line)
        assert found is not None
        running.wait_events("tunnel-up", 2)  # the whole pool, so that it knocks no more
        return running, int(found["port"])

    def knock(self, host: Host, target: str, offset: int = 0, port: int = PORT, source: str = "") -> bytes:
        """One genuine knock out of ``host``; the datagram."""
        datagram = self.sealed(offset, port)
        send(host, target, datagram, source=source)
        return datagram

    def sealed(self, offset: int = 0, port: int = PORT) -> bytes:
        """A genuine knock of a clock that is ``offset`` seconds ahead."""
        nonce, server = secrets.token_bytes(12), self.target.server_public
        return seal(derive_knock_key(PSK), server, int(time.time()) + offset, port, nonce)

    def dial(self, host: Host, target: Target) -> Dial:
        """One dial out of ``host`` with the client's own connector."""
        return host.call(lambda: asyncio.run(dial(target)))

    def dials(self, host: Host, target: Target, count: int) -> list[Dial]:
        """So many dials one after the other, each against a shut gate."""
        done = []
        for _ in range(count):
            done.append(self.dial(host, target))
            self.shut()
        return done


class Gated(Behind):
    """The test holds knockd's control socket in the supervisor's stead: it can end a grant between two dials."""

    def __init__(self, network: Topology, directory: Path, *, ttl: int = 20, one_shot: bool = False) -> None:
        super().__init__(network, directory, ttl=ttl, one_shot=one_shot)
        self.knockd = KnockdProcess(
            network.server,
            directory / "knockd",
            knock_key=derive_knock_key(PSK),
            server_public=self.target.server_public,
            ttl=ttl,
            one_shot=one_shot,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.knockd.kill()
        super().__exit__(kind, error, trace)

    def _gate_lines(self, ttl: int, *, one_shot: bool) -> list[str]:
        return []

    def wait_ready(self) -> None:
        super().wait_ready()
        self.knockd.expect(GateState, lambda state: state.ok)

    def shut(self, *sources: str) -> None:
        for source in sources or (self.network.admin.ipv4, self.network.admin.ipv6):
            self.knockd.send(Revoke(source))
        until(lambda: not elements(self.network.server))


class Whole(Behind):
    """Nothing is held by the test: the server starts its knockd, and shuts its port while there is none."""

    def __init__(self, network: Topology, directory: Path, *, ttl: int = 20, one_shot: bool = False) -> None:
        directory.chmod(0o755)
        super().__init__(network, directory, ttl=ttl, one_shot=one_shot)

    def _gate_lines(self, ttl: int, *, one_shot: bool) -> list[str]:
        name = f'table = "{TABLE}"', f'set = "{SET}"'
        return ["[knock]", "enabled = true", "[firewall]", *name, f"ttl_secs = {ttl}", f"one_shot = {one_shot}".lower()]

    def wait_ready(self) -> None:
        super().wait_ready()
        self.server.wait_events("gate-open")

    def shut(self, *sources: str) -> None:
        for name in (SET, f"{SET}6"):
            self.network.server.run("nft", "flush", "set", "inet", TABLE, name)
        time.sleep(1.1)  # a younger grant would not be renewed

    def opens(self) -> bool:
        """Whether a knock of the admin's machine opens by now."""
        self.knock(self.network.admin, self.network.server.ipv4)
        time.sleep(0.05)
        return self.network.admin.ipv4 in elements(self.network.server)

    def knockd_pid(self) -> int:
        """The knockd of now."""
        found = [each.pid for each in self.server.family() if each.name == "hyp-knockd"]
        assert len(found) == 1, found
        return found[0]


@contextlib.contextmanager
def whole(network: Topology, directory: Path, *, ttl: int = 20, one_shot: bool = False) -> Iterator[Whole]:
    """A server that is ready behind its own shut gate, with a service that echoes."""
    with service(network.server, ECHO_PORT), Whole(network, directory, ttl=ttl, one_shot=one_shot) as made:
        made.wait_ready()
        yield made


@contextlib.contextmanager
def gated(network: Topology, directory: Path, *, ttl: int = 20, one_shot: bool = False) -> Iterator[Gated]:
    """A server that is ready behind a shut gate, with a service that echoes."""
    with service(network.server, ECHO_PORT), Gated(network, directory, ttl=ttl, one_shot=one_shot) as made:
        made.wait_ready()
        yield made


class Transfer:
    """Sends without end to a port of ``host`` that echoes, and hashes both ways. As a context manager it ends with the
    proof that what came back is what was sent."""

    def __init__(self, host: Host, port: int) -> None:
        self._client = host.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._client.settimeout(30)
        self._client.connect(("127.0.0.1", port))
        self._stop = threading.Event()
        self._hashes = hashlib.sha256(), hashlib.sha256()
        self.sent = 0
        self._received = 0
        self._failure: OSError | None = None
        self._threads = [threading.Thread(target=self._guarded, args=(each,)) for each in (self._send, self._receive)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        self._client.close()
        if error is None:
            assert self._failure is None, self._failure
            assert self.sent == self._received > 0
            assert self._hashes[0].digest() == self._hashes[1].digest()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as error:
            self._failure = error

    def _send(self) -> None:
        chance = random.Random(5)
        while not self._stop.wait(0.02):
            data = chance.randbytes(16 * 1024)
            self._client.sendall(data)
            self._hashes[0].update(data)
            self.sent += len(data)
        self._client.shutdown(socket.SHUT_WR)

    def _receive(self) -> None:
        while data := self._client.recv(65_536):
            self._hashes[1].update(data)
            self._received += len(data)


class _FirstByte(StreamOwner):
    """Asks for the service, sends one byte, and waits for it to come back."""

    def __init__(self, connection: TunnelConnection) -> None:
        self.came: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._stream = connection.tunnel.mux.open_stream()
        connection.adopt(self._stream, self)
        connection.send(self._stream, encode_request(ECHO_PORT))

    def on_data(self, data: memoryview) -> None:
        if bytes(data) == b"\0":
            self._connection.send(self._stream, b"!")
        elif not self.came.done():
            self.came.set_result(time.monotonic())

    def on_finish(self) -> None: ...

    def on_reset(self, reason: str) -> None:
        if not self.came.done():
            self.came.set_exception(ConnectionResetError(reason))

    def on_window(self) -> None: ...


async def dial(target: Target) -> Dial:
    """Resolve, knock, connect, handshake, a stream, a byte there and back."""
    session = TunnelSession()
    began = time.monotonic()
    try:
        connection, steps = await Connector(target).connect(session)
    except ConnectFailed as error:
        return Dial(time.monotonic() - began, error.steps, error.knocks, error.reason)
    async with asyncio.timeout(10):
        came = await _FirstByte(connection).came
    done = RecordError("enough")
    connection.go_away(done)
    await session.closed
    knocks = sum(step.count for step in steps if step.name == "knock")
    return Dial(came - began, steps, knocks)


def percentiles(values: Sequence[float]) -> str:
    """p50, p99 and the worst, milliseconds."""
    ordered = sorted(values)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99))
    return f"p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, worst {ordered[-1] * 1e3:.1f} ms"
