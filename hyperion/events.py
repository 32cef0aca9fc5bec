"""The catalogue of what Hyperion says in its logs: one constant per event, its code, and its place in ECS.

Knows the names. Does not know how a line is rendered or written (``hyperion.log``), nor which values the fields take.
``docs/logs.md`` shows this table to people; a test keeps both equal.

ECS is the Elastic Common Schema. A code never changes its meaning and is never used twice: operators build alerts on
it. Its first digit is the family (0 service, 1 knock and firewall, 2 session and tunnel, 3 stream and listener, 4
process, 5 configuration, 9 unexpected); its letter says how loud it is by default: D debug, I info or notice, N
notice, W warning, E error or critical.
"""

from typing import Final, Literal

import msgspec

Level = Literal["debug", "info", "notice", "warning", "error", "critical"]

#: Severity of each level as in RFC 5424 (syslog): the smaller, the worse.
SEVERITIES: Final[dict[str, int]] = {"critical": 2, "error": 3, "warning": 4, "notice": 5, "info": 6, "debug": 7}

#: ``event.dataset`` of what a security team reads: who knocked, came in, reached what, and who changed the rules.
AUDIT: Final = "hyperion.audit"
#: ``event.dataset`` of everything else: the health of the program.
APP: Final = "hyperion.app"


class LogEvent(msgspec.Struct, frozen=True):
    """One kind of event. ``category`` and ``type`` are values ECS allows; ``fields`` is what a line usually carries."""

    code: str
    action: str
    category: tuple[str, ...]
    type: tuple[str, ...]
    outcome: Literal["success", "failure", "unknown"]
    level: Level
    message: str
    dataset: str = APP
    fields: tuple[str, ...] = ()


_SOURCE = ("source.ip", "source.port")
#: Where there is a gate: from the knock to the last stream of the session that it let in.
_KNOCK = "hyperion.knock.id"
_SESSION = ("hyperion.session.id", "user.id", "user.name", _KNOCK)
_STREAM = (
    *_SOURCE,
    "hyperion.session.id",
    "hyperion.stream.id",
    "user.id",
    "user.name",
    _KNOCK,
    "destination.ip",
    "destination.port",
)
_ERROR = ("error.type", "error.message")

# One event is a row of a table, not a column.
# fmt: off

# --- 0: the service as a whole ---------------------------------------------------------------------------------------

SERVICE_STARTED = LogEvent(
    "HYP0001N", "service-started", ("process",), ("start",), "success", "notice",
    "service started", APP, ("hyperion.effective.loop", "hyperion.effective.workers", "hyperion.listen"),
)
SERVICE_STOPPED = LogEvent(
    "HYP0002N", "service-stopped", ("process",), ("end",), "success", "notice",
    "service stopped", APP, ("event.reason", "process.exit_code"),
)
SERVICE_DRAINING = LogEvent(
    "HYP0003N", "service-draining", ("process",), ("change",), "success", "notice",
    "service finishes its streams and takes nothing new", APP, ("hyperion.drain.timeout_s",),
)

SERVICE_FAILED = LogEvent(
    "HYP0004E", "service-failed", ("process",), ("end",), "failure", "error",
    "service failed", APP, ("process.exit_code", *_ERROR),
)

# --- 1: knock and firewall -------------------------------------------------------------------------------------------

KNOCK_ACCEPTED = LogEvent(
    "HYP1001I", "knock-accepted", ("network",), ("connection", "allowed"), "success", "info",
    "knock accepted", AUDIT,
    (*_SOURCE, "destination.port", "hyperion.knock.id", "hyperion.knock.skew_ms"),
)
KNOCK_REJECTED = LogEvent(
    "HYP1002W", "knock-rejected", ("network",), ("connection", "denied"), "failure", "warning",
    "knock rejected", AUDIT, (*_SOURCE, "event.reason", "hyperion.knock.id"),
)
FIREWALL_ADMITTED = LogEvent(
    "HYP1101I", "firewall-admit", ("configuration", "network"), ("creation", "allowed"), "success", "notice",
    "source admitted", AUDIT, ("source.ip", "destination.port", "hyperion.knock.id", "hyperion.firewall.ttl_s"),
)
FIREWALL_EXPIRED = LogEvent(
    "HYP1102I", "firewall-expire", ("configuration",), ("deletion",), "success", "info",
    "admission ended", AUDIT, ("event.reason", "source.ip", "destination.port"),
)
FIREWALL_FAILED = LogEvent(
    "HYP1103E", "firewall-admit", ("configuration",), ("creation", "error"), "failure", "error",
    "source could not be admitted", AUDIT, ("event.reason", "source.ip", "destination.port", *_ERROR),
)

FIREWALL_RESTORED = LogEvent(
    "HYP1104W", "firewall-restore", ("configuration",), ("change",), "success", "warning",
    "somebody changed the firewall, its table was restored", AUDIT,
    ("event.reason", "hyperion.firewall.backend", "hyperion.firewall.table", "hyperion.firewall.restored_ms",
     "hyperion.firewall.restorations"),
)
FIREWALL_DEGRADED = LogEvent(
    "HYP1105E", "firewall-degrade", ("configuration",), ("change",), "failure", "error",
    "the firewall's table is not in force", AUDIT,
    ("event.reason", "hyperion.firewall.backend", "hyperion.firewall.table", "hyperion.retry_in_s", *_ERROR),
)
FIREWALL_RECOVERED = LogEvent(
    "HYP1106N", "firewall-recover", ("configuration",), ("change",), "success", "notice",
    "the firewall's table is in force again", AUDIT,
    ("hyperion.firewall.backend", "hyperion.firewall.table"),
)

GATE_SHUT = LogEvent(
    "HYP1107E", "gate-shut", ("configuration", "network"), ("change", "denied"), "failure", "error",
    "the gate is shut: no new connection gets in", AUDIT, ("event.reason", "destination.port", "error.message"),
)
GATE_OPENED = LogEvent(
    "HYP1108N", "gate-open", ("configuration", "network"), ("change", "allowed"), "success", "notice",
    "the gate works: a right knock opens the port to its sender", AUDIT, ("destination.port",),
)
FIREWALL_CAUTION = LogEvent(
    "HYP1109W", "firewall-caution", ("configuration",), ("info",), "success", "warning",
    "the gate works, and its table says something that may not be meant", AUDIT,
    ("hyperion.firewall.backend", "hyperion.firewall.table", "error.message"),
)
KNOCKED_IN_VAIN = LogEvent(
    "HYP1110W", "knocked-in-vain", ("network",), ("connection", "info"), "failure", "warning",
    "somebody knocks again and again, is let in, and never comes", AUDIT, ("source.ip", "destination.port"),
)

# --- 2: session (server) and tunnel (client) -------------------------------------------------------------------------

SESSION_OPENED = LogEvent(
    "HYP2001I", "session-opened", ("authentication", "session"), ("start",), "success", "notice",
    "session opened", AUDIT,
    (*_SOURCE, *_SESSION, "user_agent.original", "hyperion.noise.pattern", "hyperion.noise.cipher"),
)
SESSION_REFUSED = LogEvent(
    "HYP2002W", "session-refused", ("authentication",), ("start",), "failure", "warning",
    "session refused", AUDIT, (*_SOURCE, "event.reason", "user.id", "user.name", "hyperion.peer.fingerprint"),
)
SESSION_CLOSED = LogEvent(
    "HYP2003I", "session-closed", ("session",), ("end",), "success", "notice",
    "session closed", AUDIT,
    ("event.reason", "event.start", "event.end", "event.duration", *_SOURCE, *_SESSION, "source.bytes",
     "destination.bytes", "network.bytes", "hyperion.session.streams"),
)
REJECTIONS_SUMMARISED = LogEvent(
    "HYP2004W", "rejections-summarised", ("network",), ("connection", "denied"), "failure", "warning",
    "further rejections were counted, not logged", AUDIT,
    ("event.reason", "hyperion.suppressed_count", "hyperion.suppressed_sources"),
)
TUNNEL_UP = LogEvent(
    "HYP2011I", "tunnel-up", ("session", "network"), ("start", "connection"), "success", "notice",
    "tunnel up", APP,
    ("hyperion.server.name", "destination.address", "destination.port", "hyperion.pool.up", "hyperion.pool.size"),
)
TUNNEL_DOWN = LogEvent(
    "HYP2012W", "tunnel-down", ("session", "network"), ("end", "connection"), "failure", "warning",
    "tunnel down", APP,
    ("event.reason", "hyperion.server.name", "destination.address", "destination.port", "hyperion.pool.up",
     "hyperion.pool.size"),
)

CLOCK_SKEWED = LogEvent(
    "HYP2013W", "clock-skewed", ("network",), ("info",), "failure", "warning",
    "the server's clock differs from this machine's", APP, ("hyperion.server.name", "hyperion.knock.skew_ms"),
)

# --- 3: stream and listener ------------------------------------------------------------------------------------------

STREAM_OPENED = LogEvent(
    "HYP3001I", "stream-opened", ("network",), ("connection", "start", "allowed"), "success", "info",
    "stream opened", AUDIT, _STREAM,
)
STREAM_DENIED = LogEvent(
    "HYP3002W", "stream-denied", ("network",), ("connection", "denied"), "failure", "warning",
    "stream denied", AUDIT, ("event.reason", *_STREAM),
)
STREAM_FAILED = LogEvent(
    "HYP3003I", "stream-failed", ("network",), ("connection", "end"), "failure", "info",
    "stream failed", AUDIT, ("event.reason", *_STREAM),
)
STREAM_CLOSED = LogEvent(
    "HYP3004I", "stream-closed", ("network",), ("connection", "end"), "success", "info",
    "stream closed", AUDIT, ("event.reason", "event.duration", *_STREAM, "source.bytes", "destination.bytes"),
)
SOCKS_REFUSED = LogEvent(
    "HYP3005W", "socks-refused", ("network",), ("connection", "denied"), "failure", "warning",
    "SOCKS request refused", AUDIT,
    ("event.reason", "source.ip", "source.port", "destination.address", "destination.port"),
)
LISTENER_STARTED = LogEvent(
    "HYP3011I", "listener-started", ("network",), ("start",), "success", "info",
    "listener started", APP, ("hyperion.forward.local", "hyperion.server.name", "destination.port"),
)
# HYP3012E was planned for a listener that cannot be had. That ends the start, or is HYP5002E: it was never written.

STREAMS_UNAVAILABLE = LogEvent(
    "HYP3013W", "streams-unavailable", ("network",), ("start",), "failure", "warning",
    "no stream sockets, so nc does not find this client", APP, _ERROR,
)

DEVICE_UP = LogEvent(
    "HYP3021N", "device-up", ("network",), ("start",), "success", "notice",
    "transparent mode: the device is up", APP,
    ("hyperion.device.name", "hyperion.device.addresses", "hyperion.device.shortcut"),
)
DEVICE_DOWN = LogEvent(
    "HYP3022N", "device-down", ("network",), ("end",), "success", "notice",
    "transparent mode: the device is gone", APP, ("hyperion.device.name",),
)

# --- 4: processes ----------------------------------------------------------------------------------------------------

WORKER_STARTED = LogEvent(
    "HYP4001I", "worker-started", ("process",), ("start",), "success", "info",
    "worker started", APP, ("process.pid", "hyperion.worker.id"),
)
WORKER_CRASHED = LogEvent(
    "HYP4002E", "worker-crashed", ("process",), ("end",), "failure", "error",
    "worker crashed", APP,
    ("event.reason", "process.pid", "process.exit_code", "hyperion.worker.id", "hyperion.worker.signal",
     "hyperion.worker.restarts", "hyperion.worker.sessions_lost"),
)
SNIFFER_DEGRADED = LogEvent(
    "HYP4003E", "sniffer-degraded", ("process",), ("change",), "failure", "error",
    "packet capture lost packets or ended", APP, ("event.reason", "hyperion.sniffer.dropped"),
)
WORKER_STOPPED = LogEvent(
    "HYP4004I", "worker-stopped", ("process",), ("end",), "success", "info",
    "worker stopped", APP, ("event.reason", "process.pid", "process.exit_code", "hyperion.worker.id"),
)
LOG_DROPPED = LogEvent(
    "HYP4005W", "log-dropped", ("process",), ("change",), "failure", "warning",
    "log lines dropped", APP, ("hyperion.log.dropped",),
)

# --- 5: configuration ------------------------------------------------------------------------------------------------

CONFIG_RELOADED = LogEvent(
    "HYP5001N", "config-reload", ("configuration",), ("change",), "success", "notice",
    "configuration reloaded", AUDIT,
    ("file.path", "hyperion.config.changed", "hyperion.config.admins_added", "hyperion.config.admins_removed",
     "hyperion.config.admins_changed"),
)
CONFIG_REJECTED = LogEvent(
    "HYP5002E", "config-reload", ("configuration",), ("change",), "failure", "error",
    "configuration refused, the old one stays", APP, ("file.path", *_ERROR),
)
ADMIN_COMMAND = LogEvent(
    "HYP5003N", "admin-command", ("iam", "configuration"), ("admin", "change"), "success", "notice",
    "admin command", AUDIT, ("event.reason", "user.id"),
)

OPERATOR_UNAVAILABLE = LogEvent(
    "HYP5004W", "operator-unavailable", ("process",), ("start",), "failure", "warning",
    "no operator socket, so status and down do not find this program", APP, _ERROR,
)

# --- 9: what should not happen ---------------------------------------------------------------------------------------

LIBRARY_MESSAGE = LogEvent(
    "HYP9001W", "library-message", ("process",), ("info",), "unknown", "warning",
    "a library reported something", APP, ("log.logger", *_ERROR, "error.stack_trace"),
)
INTERNAL_ERROR = LogEvent(
    "HYP9002E", "internal-error", ("process",), ("info",), "failure", "error",
    "unexpected error", APP, (*_ERROR, "error.stack_trace"),
)
DIAGNOSTIC = LogEvent(
    "HYP9003D", "diagnostic", ("process",), ("info",), "unknown", "debug",
    "diagnostic", APP,
)

# fmt: on

#: Every event, by code, in the order of this file.
CATALOGUE: Final[dict[str, LogEvent]] = {
    event.code: event for event in list(globals().values()) if isinstance(event, LogEvent)
}
