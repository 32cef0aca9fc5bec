"""Messages between the supervisor and its workers.

Each direction is a closed union of tagged structs: a decoder of one direction refuses every message of the other, so
the unions *are* the table of what may be said. Framing and the socket are the business of ``hyperion.channel``.

Secrets travel here, once, in the first message of a worker's life, and nowhere else: such structs do not show them in
their ``repr``, nor to rich, whose tracebacks ask every struct for its fields.
"""

from typing import Any

import msgspec

from hyperion.proto.admins import Roster
from hyperion.proto.message import Message as Message

#: Longest encoded message, bytes. The largest is a server's configuration: 900 admins fit if they share a few lists of
#: ports, 600 with ten ports of their own, 170 with a hundred. The supervisor refuses a longer one when it reads it.
MAX_MESSAGE_BYTES = 64 * 1024

#: Seconds between signs of life of every child; the supervisor gives up on one after four of them.
PULSE_SECONDS = 5.0


#: A request for a marked socket: family (4 or 6), kind (t or u), and a number that the answer repeats. The answer
#: carries the socket's descriptor.
MARK_REQUEST_BYTES = 10


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a child logs: see ``hyperion.log.configure``. ``path``: the file that standard error leads to, if it does."""

    format: str = "auto"
    level: str = "info"
    path: str | None = None


class ServerWorkerConfig(Message, frozen=True, tag="server-config"):
    """First message to a server worker. Times in seconds."""

    worker: str
    static_secret: bytes
    psk: bytes
    admins: Roster
    handshake_timeout: float
    server_name: str
    log: LogSettings

    def __repr__(self) -> str:
        return f"ServerWorkerConfig(worker={self.worker!r}, admins={len(self.admins)})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("worker", self.worker), ("admins", len(self.admins))]


class ForwardRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One local listener: the socket with the same index in the list handed over at start leads to ``remote_port``."""

    local: str
    remote_port: int


class KnockOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How to knock at a server: 32 bytes of key, the UDP port, and how far the server's clock is ahead, milliseconds,
    if an earlier worker learned it."""

    knock_key: bytes
    port: int
    skew_ms: int | None = None

    def __repr__(self) -> str:
        return f"KnockOrder(port={self.port}, skew_ms={self.skew_ms})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("port", self.port), ("skew_ms", self.skew_ms)]


class ClientWorkerConfig(Message, frozen=True, tag="client-config"):
    """First message to a client worker (one server each)."""

    server: str
    host: str
    port: int
    server_public: bytes
    static_secret: bytes
    psk: bytes
    pool_size: int
    forwards: tuple[ForwardRule, ...]
    log: LogSettings
    #: users who may call the stream socket, the last of the sockets handed over; empty: there is none
    stream_uids: tuple[int, ...] = ()
    #: None: the server has no gate
    knock: KnockOrder | None = None
    #: the last of the sockets handed over is where marked ones are asked for
    marked: bool = False

    def __repr__(self) -> str:
        return f"ClientWorkerConfig(server={self.server!r}, host={self.host!r}, port={self.port})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [("server", self.server), ("host", self.host), ("port", self.port)]


class StreamPlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A server that a SOCKS client may name: its name, the path of its worker's stream socket, the addresses that stand
    for it."""

    name: str
    path: str
    addresses: tuple[str, ...]


class SocksConfig(Message, frozen=True, tag="socks-config"):
    """First message to the SOCKS child. ``listeners``: addresses of the sockets handed over, in their order."""

    listeners: tuple[str, ...]
    servers: tuple[StreamPlace, ...]
    log: LogSettings


class ServerPolicy(Message, frozen=True, tag="server-policy"):
    """A reload: from now on these admins and ports hold. Live sessions of admins not listed are cut."""

    admins: Roster
    handshake_timeout: float


class Knocked(Message, frozen=True, tag="knocked"):
    """To a server worker, for its log: the gate let this source in, because of the knock with this id."""

    source: str
    knock: str


class Drain(Message, frozen=True, tag="drain"):
    """Take nothing new, finish the streams that run, exit after ``timeout`` seconds at the latest."""

    timeout: float


class Stop(Message, frozen=True, tag="stop"):
    """End now, tidily."""


class Ready(Message, frozen=True, tag="ready"):
    """The worker serves. ``pid`` is its own."""

    pid: int


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """The worker's loop turns. Counters since its start, gauges of now; bytes are payload bytes of streams."""

    sessions: int
    streams: int
    sessions_total: int
    streams_total: int
    bytes_in: int
    bytes_out: int


class Poll(Message, frozen=True, tag="poll"):
    """Somebody wants to know now: answer with a heartbeat, and with the state of the pool where there is one."""


class Pulse(Message, frozen=True, tag="pulse"):
    """The loop of a child with rights (knockd, tund) turns: what it says every ``PULSE_SECONDS`` if it has no counters,
    knockd every ``KNOCKD_PULSE_SECONDS``.

    Not in the unions of workers, who send a ``Heartbeat``.
    """


class TunnelState(Message, frozen=True, tag="tunnel-state"):
    """A client worker's pool changed, or was asked about.

    ``up`` of ``size`` connections stand. ``reason`` is the last word for being down (``None`` if all stand);
    ``message`` and ``hint`` say it to people. ``round_trip`` in seconds; ``skew_ms``: how much the server's clock is
    ahead. Times are Unix seconds: ``since`` when at least one connection has stood without a break, or none has;
    ``last_error_at``; ``next_attempt_at``, where one is waited for. ``agent``, ``server_name`` and ``ports`` are the
    server's own words, as last heard; ``None`` from a server that tells none.
    """

    up: int
    size: int
    reason: str | None
    round_trip: float | None
    message: str | None = None
    hint: str | None = None
    since: float | None = None
    last_error_at: float | None = None
    next_attempt_at: float | None = None
    agent: str | None = None
    server_name: str | None = None
    skew_ms: int | None = None
    ports: tuple[int, ...] | None = None


class SessionOpened(Message, frozen=True, tag="session-opened"):
    """A client proved to a server worker who it is.

    ``id`` is that of the log, ``admin`` the name in its rule, ``agent`` what it calls its own software, ``at`` Unix
    seconds.
    """

    id: str
    source: str
    source_port: int
    admin: str
    agent: str | None
    at: float


class SessionClosed(Message, frozen=True, tag="session-closed"):
    """That session is over."""

    id: str


class DeviceUp(Message, frozen=True, tag="device-up"):
    """Transparent mode: there is a device of this name with these addresses (text); listen on it."""

    name: str
    addresses: tuple[str, ...]


class DeviceDown(Message, frozen=True, tag="device-down"):
    """It is gone."""


class WantPort(Message, frozen=True, tag="want-port"):
    """An application asks for this port of the server, over the device, and nothing listens for it yet."""

    port: int


class Listeners(Message, frozen=True, tag="listeners"):
    """What a client worker listens on, over the device: remote port and local port of each. Replaces what was known.

    ``closed``: the server allows no other port.
    """

    closed: bool
    ports: tuple[tuple[int, int], ...]


class Fault(Message, frozen=True, tag="fault"):
    """The child ends because of this; ``exit_code`` says whether a restart makes sense (78: it does not), ``hint`` what
    a person should do."""

    reason: str
    exit_code: int
    hint: str | None = None

    def words(self) -> str:
        """Both in one line."""
        return self.reason if self.hint is None else f"{self.reason} ({self.hint})"


SupervisorToWorker = (
    ServerWorkerConfig
    | ClientWorkerConfig
    | SocksConfig
    | ServerPolicy
    | Knocked
    | Poll
    | DeviceUp
    | DeviceDown
    | WantPort
    | Drain
    | Stop
)
WorkerToSupervisor = Ready | Heartbeat | TunnelState | Listeners | SessionOpened | SessionClosed | Fault
