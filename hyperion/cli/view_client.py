"""What ``hyperion-client status`` shows: from the document to lines.

Knows words, order and what an operator should do next. Refuses to know where the document came from and where the lines
go. The first line is the original's.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

from hyperion.cli import units
from hyperion.cli.style import Line, Piece, Tone, columns, piece
from hyperion.proto.operator import ClientStatus, TunnelLine
from hyperion.proto.skew import is_far

_TONES: Mapping[str, Tone] = {"failed": "bad", "down": "bad", "restarting": "bad", "up": "good"}

HEADER = ("name", "state", "fake ip", "pool", "rtt", "streams", "in", "out", "for", "ports", "skew")
#: Columns that a narrow terminal shows in any case.
KEPT = 5

#: As many servers with the same reason are told together, below the table; fewer are told each below its row.
MANY = 4
#: Names that a line lists before the rest is only counted.
SHOWN_NAMES = 6

_NUMBER = re.compile(r"(\d+)")


def client_lines(status: ClientStatus, *, width: int | None = None, verbose: bool = False) -> list[Line]:
    """All of it. ``width``: columns of the terminal; ``verbose``: also forwards and the servers' own words."""
    if status.state == "down":
        configured = [[piece(f"servers: {status.servers_total}")]] if status.servers_total else []
        return [[piece("hyperion: down", "bad")], *configured]
    lines: list[Line] = [_first(status), _second(status), _transparent(status)]
    if status.socks:
        lines.append([piece(f"SOCKS at {', '.join(status.socks)}")])
    if status.servers:
        together = {} if verbose else _told_together(status.servers)
        rows = [_row(server, status.at, with_reason=_is_in(server, together)) for server in status.servers]
        table = columns(HEADER, rows, limit=width, keep=KEPT)
        lines += [[], table[0]]
        for row, server in zip(table[1:], status.servers, strict=True):
            lines += [row] if _is_in(server, together) else [row, *_notes(server, status.at, verbose=verbose)]
        for reason, servers in together.items():
            lines += [[], *_group_notes(reason, servers, status.at)]
    return lines


def _told_together(servers: Sequence[TunnelLine]) -> dict[str, list[TunnelLine]]:
    """Reasons that many servers share: told once, for one of them, so that the table stays a table."""
    reasons: dict[str, list[TunnelLine]] = {}
    for server in servers:
        if server.reason is not None and server.state != "up":
            reasons.setdefault(server.reason, []).append(server)
    return {reason: found for reason, found in reasons.items() if len(found) >= MANY}


def _is_in(server: TunnelLine, together: Mapping[str, object]) -> bool:
    return server.state != "up" and server.reason in together


def _group_notes(reason: str, servers: Sequence[TunnelLine], now: float | None) -> list[Line]:
    first = servers[0]
    lines: list[Line] = [[piece(f"{len(servers)} servers, {reason}: {_names(servers)}", "warn")]]
    lines += [[piece(f"    {first.name}: {first.message}{_next_try(first, now)}", "warn")]] if first.message else []
    lines += [[piece(f"    hint: {first.hint}")]] if first.hint is not None else []
    return [*lines, [piece(f"    next: hyperion-client doctor {first.name}")]]


def _names(servers: Iterable[TunnelLine]) -> str:
    """As people count: node2 before node10; many are cut."""
    names = sorted((server.name for server in servers), key=_as_counted)
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def _as_counted(name: str) -> list[tuple[str, int]]:
    parts = _NUMBER.split(name)
    return [(text, int(number or 0)) for text, number in zip(parts[::2], [*parts[1::2], ""], strict=True)]


def client_summary(status: ClientStatus) -> str:
    """One line: ``38 up, 2 down (connect-timeout: db3; refused: web9)``."""
    if status.state == "down":
        return "hyperion: down"
    up = [server for server in status.servers if server.pool_up]
    down = [server for server in status.servers if not server.pool_up]
    return f"{len(up)} up" + (f", {len(down)} down ({_by_reason(down)})" if down else "")


def _by_reason(servers: list[TunnelLine]) -> str:
    reasons: dict[str, list[TunnelLine]] = {}
    for server in servers:
        reasons.setdefault(server.reason or server.state, []).append(server)
    return "; ".join(f"{reason}: {_names(found)}" for reason, found in sorted(reasons.items()))


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
    real = status.servers and all(server.fake_ip is None for server in status.servers)
    leads = ", under the servers' real addresses" if real else ""
    return [piece(f"tun device {mode.device} at {mode.address}{leads}{reason}", tone)]


def _row(server: TunnelLine, now: float | None, *, with_reason: bool) -> list[Piece]:
    state = f"{server.state}: {server.reason}" if with_reason else server.state
    age = None if server.since is None or now is None else now - server.since
    far = is_far(server.skew_ms)
    return [
        piece(server.name, "bold" if server.state != "up" else ""),
        piece(state, _TONES.get(server.state, "warn")),
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
    if is_far(server.skew_ms):
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
