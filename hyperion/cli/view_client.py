"""What ``hyperion-client status`` shows: from the document to lines.

Knows words, order and what an operator should do next. Refuses to know where the document came from and where the lines
go. The first line is the original's.
"""

from collections.abc import Mapping

from hyperion.cli import units
from hyperion.cli.style import Line, Piece, Tone, columns, piece
from hyperion.proto.control import SKEW_WARNING_MS
from hyperion.proto.operator import ClientStatus, TunnelLine

_TONES: Mapping[str, Tone] = {"failed": "bad", "down": "bad", "restarting": "bad", "up": "good"}

HEADER = ("name", "state", "fake ip", "pool", "rtt", "streams", "in", "out", "for", "ports", "skew")
#: Columns that a narrow terminal shows in any case.
KEPT = 5


def client_lines(status: ClientStatus, *, width: int | None = None, verbose: bool = False) -> list[Line]:
    """All of it. ``width``: columns of the terminal; ``verbose``: also forwards and the servers' own words."""
    if status.state == "down":
        configured = [[piece(f"servers: {status.servers_total}")]] if status.servers_total else []
        return [[piece("hyperion: down", "bad")], *configured]
    lines: list[Line] = [_first(status), _second(status), _transparent(status)]
    if status.socks:
        lines.append([piece(f"SOCKS at {', '.join(status.socks)}")])
    if status.servers:
        rows = [_row(server, status.at) for server in status.servers]
        table = columns(HEADER, rows, limit=width, keep=KEPT)
        lines += [[], table[0]]
        for row, server in zip(table[1:], status.servers, strict=True):
            lines += [row, *_notes(server, status.at, verbose=verbose)]
    return lines


def client_summary(status: ClientStatus) -> str:
    """One line: ``38 up, 2 down (connect-timeout: db3; refused: web9)``."""
    if status.state == "down":
        return "hyperion: down"
    up = [server for server in status.servers if server.pool_up]
    down = [server for server in status.servers if not server.pool_up]
    return f"{len(up)} up" + (f", {len(down)} down ({_by_reason(down)})" if down else "")


def _by_reason(servers: list[TunnelLine]) -> str:
    reasons: dict[str, list[str]] = {}
    for server in servers:
        reasons.setdefault(server.reason or server.state, []).append(server.name)
    return "; ".join(f"{reason}: {', '.join(sorted(names))}" for reason, names in sorted(reasons.items()))


def _first(status: ClientStatus) -> Line:
    return [piece(f"hyperion: UP (pid {status.pid})", "bold")]


def _second(status: ClientStatus) -> Line:
    age = (
        ""
        if status.started_at is None or status.at is None
        else f", for {units.duration(status.at - status.started_at)}"
    )
    tone: Tone = "good" if status.servers_up == status.servers_total else "warn"
    state = "" if status.state in ("up", "degraded") else f"{status.state}: "
    return [piece(f"{state}{status.servers_up} of {units.count(status.servers_total, 'server')} up", tone), piece(age)]


def _transparent(status: ClientStatus) -> Line:
    mode = status.transparent
    if mode is None or mode.state == "off":
        reason = "" if mode is None or mode.reason is None else f" ({mode.reason})"
        return [piece(f"transparent mode: off{reason}", "dim")]
    tone: Tone = "" if mode.state == "up" else "bad"
    reason = "" if mode.reason is None else f": {mode.reason}"
    return [piece(f"tun device {mode.device} at {mode.address}{reason}", tone)]


def _row(server: TunnelLine, now: float | None) -> list[Piece]:
    age = None if server.since is None or now is None else now - server.since
    far = server.skew_ms is not None and abs(server.skew_ms) > SKEW_WARNING_MS
    return [
        piece(server.name, "bold" if server.state != "up" else ""),
        piece(server.state, _TONES.get(server.state, "warn")),
        piece(server.fake_ip or units.NOTHING),
        piece(f"{server.pool_up}/{server.pool_size}"),
        piece(units.milliseconds(server.round_trip_ms)),
        piece(server.streams),
        piece(units.volume(server.bytes_in)),
        piece(units.volume(server.bytes_out)),
        piece(units.duration(age)),
        piece(units.ports(server.ports)),
        piece(units.skew(server.skew_ms), "warn" if far else ""),
    ]


def _notes(server: TunnelLine, now: float | None, *, verbose: bool) -> list[Line]:
    """What is wrong, why, and what to do; one line each, indented below the row."""
    notes: list[Line] = []
    if server.state != "up" and (server.message or server.reason not in (None, server.state)):
        what = server.message or server.reason
        text = f"{server.reason}: {what}" if server.message and server.reason else f"{what}"
        notes.append([piece(f"    {text}{_next_try(server, now)}", "warn")])
        if server.hint is not None:
            notes.append([piece(f"    hint: {server.hint}")])
    if server.state in ("down", "failed"):
        notes.append([piece(f"    next: hyperion-client doctor {server.name}")])
    if server.skew_ms is not None and abs(server.skew_ms) > SKEW_WARNING_MS:
        notes.append([piece("    hint: its clock and this one differ: set both by NTP", "warn")])
    if verbose:
        notes += [[piece(f"    forward {item.local} -> {server.name}:{item.remote_port}")] for item in server.forwards]
        says = ", ".join(word for word in (server.server_name, server.agent) if word)
        notes.append([piece(f"    at {server.address}" + (f", says it is {says}" if says else ""), "dim")])
    return notes


def _next_try(server: TunnelLine, now: float | None) -> str:
    if server.next_attempt_at is None or now is None:
        return ""
    return f"; next try in {units.duration(max(server.next_attempt_at - now, 0.0))}"
