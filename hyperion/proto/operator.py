"""Messages between an operator's command and the supervisor that it asks, and the documents that ``--json`` prints.

Two closed unions, as in ``proto.control``: a request, one answer, and the connection is over. The framing is the same
(``hyperion.channel``), with limits of its own: a request is small, and the status of a thousand servers is not.

The documents are a promise to scripts: ``hyperion.status/1`` may gain fields, and loses or renames none. So, unlike a
request, they are read leniently: a command that is older or newer than the daemon it asks still shows what it knows.

Times are Unix seconds, durations are in their names, bytes are payload bytes of streams.
"""

import msgspec

from hyperion.proto.message import Message

SCHEMA = "hyperion.status/1"

#: Longest request, bytes: the longest has a few numbers.
MAX_REQUEST_BYTES = 4 * 1024
#: Longest answer, bytes: the status of 2,000 servers with their reasons.
MAX_ANSWER_BYTES = 4 * 1024 * 1024
#: Sessions that a status lists; the counts are of all.
MAX_LISTED_SESSIONS = 1_000
#: Open grants that a status lists.
MAX_LISTED_GRANTS = 1_000


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """Part of a status. Fields may be added, never taken away."""


class WorkerLine(Document, frozen=True):
    """One child of a server. ``state``: ``starting``, ``up``, ``restarting``."""

    name: str
    state: str
    pid: int | None = None
    started_at: float | None = None
    restarts: int = 0
    reason: str | None = None
    heard_s: float | None = None
    sessions: int = 0
    streams: int = 0
    sessions_total: int = 0
    streams_total: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class AdminLine(Document, frozen=True):
    """One admin of a server. ``sessions`` are those that are open."""

    name: str
    fingerprint: str
    ports: list[int]
    sessions: int = 0
    expires_at: float | None = None


class SessionLine(Document, frozen=True):
    """One session that is open."""

    id: str
    admin: str
    source: str
    source_port: int
    worker: str
    opened_at: float
    agent: str | None = None


class GrantLine(Document, frozen=True):
    """A source that the gate lets in."""

    source: str
    expires_at: float
    remaining_s: float


class GateLine(Document, frozen=True):
    """The knock gate. ``state``: ``off``, ``ok``, ``shut`` (nobody gets in); ``verdicts`` counts knocks since start.
    ``in_vain``: sources that knock again and again, are let in, and never come."""

    state: str
    reason: str | None = None
    since: float | None = None
    port: int | None = None
    verdicts: dict[str, int] = {}
    dropped: int = 0
    in_vain: int = 0


class ServerStatus(Document, frozen=True):
    """A ``hyperion-server``. ``state``: ``starting``, ``up``, ``degraded``, ``draining``; ``down`` has no process."""

    schema: str = SCHEMA
    program: str = "hyperion-server"
    state: str = "down"
    reason: str | None = None
    version: str | None = None
    pid: int | None = None
    at: float | None = None
    started_at: float | None = None
    config: str | None = None
    log: str | None = None
    listen: str | None = None
    egress: list[int] = []
    gate: GateLine | None = None
    workers: list[WorkerLine] = []
    admins: list[AdminLine] = []
    sessions_open: int = 0
    sessions: list[SessionLine] = []
    grants_open: int = 0
    grants: list[GrantLine] = []


class ForwardLine(Document, frozen=True):
    """One local listener."""

    local: str
    remote_port: int


class TunnelLine(Document, frozen=True):
    """One server of a client.

    ``state``, worst first: ``failed`` (its worker is not started any more), ``down``, ``restarting``, ``starting``,
    ``connecting``, ``degraded`` (some connections of the pool), ``up``. ``since``: when that began.
    """

    name: str
    address: str
    state: str
    reason: str | None = None
    message: str | None = None
    hint: str | None = None
    next_attempt_at: float | None = None
    fake_ip: str | None = None
    pool_up: int = 0
    pool_size: int = 0
    round_trip_ms: float | None = None
    streams: int = 0
    streams_total: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    since: float | None = None
    last_error_at: float | None = None
    ports: list[int] | None = None
    skew_ms: int | None = None
    agent: str | None = None
    server_name: str | None = None
    pid: int | None = None
    restarts: int = 0
    heard_s: float | None = None
    forwards: list[ForwardLine] = []


class TransparentLine(Document, frozen=True):
    """Transparent mode. ``state``: ``off``, ``up``, ``down``."""

    state: str
    reason: str | None = None
    device: str | None = None
    address: str | None = None


class ClientStatus(Document, frozen=True):
    """A ``hyperion-client``. ``state``: ``starting``, ``up``, ``degraded`` (not all servers are up), ``draining``,
    ``down`` (no process). Servers come worst first."""

    schema: str = SCHEMA
    program: str = "hyperion-client"
    state: str = "down"
    reason: str | None = None
    version: str | None = None
    pid: int | None = None
    at: float | None = None
    started_at: float | None = None
    config: str | None = None
    log: str | None = None
    servers_up: int = 0
    servers_total: int = 0
    transparent: TransparentLine | None = None
    #: where it listens for SOCKS clients
    socks: list[str] = []
    servers: list[TunnelLine] = []


class StatusRequest(Message, frozen=True, tag="status-request"):
    """How are you? Counters are asked for afresh, within a moment."""


class ReloadRequest(Message, frozen=True, tag="reload-request"):
    """Read the configuration again. The answer comes when that is done, or was refused."""


class StopRequest(Message, frozen=True, tag="stop-request"):
    """End: streams may finish within the drain's time, or (``now``) are cut. The answer comes before the end does."""

    now: bool = False


class HoldGuardRequest(Message, frozen=True, tag="hold-guard-request"):
    """The operator changes the gate's table: restore nothing for ``seconds``; 0: take what is there now for right."""

    seconds: float


class ProofRequest(Message, frozen=True, tag="proof-request"):
    """Who got through the gate since then (Unix seconds)?"""

    since: float


class ServerAnswer(Message, frozen=True, tag="server-status"):
    """What a server says of itself."""

    status: ServerStatus


class ClientAnswer(Message, frozen=True, tag="client-status"):
    """What a client says of itself."""

    status: ClientStatus


class Proof(Message, frozen=True, tag="proof"):
    """``knocks``: sources that were admitted, when. ``sessions``: source and port of those that opened, when."""

    knocks: tuple[tuple[str, float], ...]
    sessions: tuple[tuple[str, int, float], ...]


class Done(Message, frozen=True, tag="done"):
    """It was done. ``patience``: seconds that what was begun may take. ``changed``: what a reload touched."""

    patience: float = 0.0
    changed: tuple[str, ...] = ()


class Refused(Message, frozen=True, tag="refused"):
    """It was not done, and why; in the words and with the exit code of the error."""

    message: str
    hint: str | None
    exit_code: int


Request = StatusRequest | ReloadRequest | StopRequest | HoldGuardRequest | ProofRequest
Answer = ServerAnswer | ClientAnswer | Proof | Done | Refused
