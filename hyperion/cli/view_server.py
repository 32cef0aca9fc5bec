"""What ``hyperion-server status`` shows: from the document to lines.

Knows words and order. Refuses to know where the document came from and where the lines go. The first lines are the
original's: state, ``listen``, ``knock``, ``admins``, ``egress``.
"""

from hyperion.cli import units
from hyperion.cli.style import Line, Piece, Tone, columns, piece
from hyperion.proto.operator import AdminLine, GateLine, ServerStatus, WorkerLine

WORKER_HEADER = ("worker", "state", "pid", "for", "sessions", "streams", "in", "out", "restarts")
SESSION_HEADER = ("admin", "source", "for", "worker", "session", "agent")
#: Columns that a narrow terminal shows in any case.
KEPT = 4

#: Grants that are named before the rest is only counted.
SHOWN_GRANTS = 8
#: Admins that are named in the line.
SHOWN_ADMINS = 8


def server_lines(status: ServerStatus, *, width: int | None = None, verbose: bool = False) -> list[Line]:
    """All of it. ``width``: columns of the terminal; ``verbose``: also each session."""
    lines: list[Line] = [_first(status), *_settings(status)]
    if status.state == "down":
        return lines
    lines.append(_grants(status))
    rows = [_worker(worker, status.at) for worker in sorted(status.workers, key=lambda worker: worker.state == "up")]
    table = columns(WORKER_HEADER, rows, limit=width, keep=KEPT)
    lines += [[], *table]
    lines += [
        [piece(f"    worker {worker.name}: {worker.reason}", "warn")] for worker in status.workers if worker.reason
    ]
    if verbose and status.sessions:
        lines += [[], *_sessions(status, width)]
    return lines


def server_summary(status: ServerStatus) -> str:
    """One line for those who watch without a terminal."""
    if status.state == "down":
        return "hyperion-server: down"
    up = sum(worker.state == "up" for worker in status.workers)
    reason = f" ({status.reason})" if status.reason else ""
    gate = "" if status.gate is None else f", gate {status.gate.state}"
    return (
        f"{status.state}{reason}: {up} of {units.count(len(status.workers), 'worker')} up,"
        f" {units.count(status.sessions_open, 'session')}{gate}"
    )


def _first(status: ServerStatus) -> Line:
    if status.state == "down":
        return [piece("hyperion-server: down", "bad")]
    line = [piece(f"hyperion-server: UP (pid {status.pid})", "bold")]
    if status.state != "up":
        reason = f": {status.reason}" if status.reason else ""
        line.append(piece(f" {status.state}{reason}", "warn"))
    return line


def _settings(status: ServerStatus) -> list[Line]:
    lines: list[Line] = []
    if status.listen is not None:
        lines.append([piece(f"listen: {status.listen}")])
    if status.gate is not None:
        lines += [_gate(status.gate), *gate_advice(status.gate)]
    if status.admins or status.state != "down":
        lines.append(_admins(status.admins, running=status.state != "down"))
    if status.listen is not None:
        lines.append(_egress(status))
    return lines


def _egress(status: ServerStatus) -> Line:
    """One list if all have the same; else one for each admin."""
    if all(admin.ports == status.egress for admin in status.admins):
        return [piece(f"egress: {', '.join(map(str, status.egress)) or 'deny-all (no ports allowed yet)'}")]
    named = [f"{admin.name}: {', '.join(map(str, admin.ports)) or 'none'}" for admin in status.admins[:SHOWN_ADMINS]]
    more = len(status.admins) - SHOWN_ADMINS
    return [piece("egress: " + "; ".join(named) + (f"; and {more} more" if more > 0 else ""))]


def _gate(gate: GateLine) -> Line:
    if gate.state == "off":
        return [piece("knock:  off")]
    tone: Tone = "good" if gate.state == "ok" else "bad" if gate.state == "shut" else ""
    state = "" if gate.state == "enabled" else gate.state if gate.reason is None else f"{gate.state}: {gate.reason}"
    line = [piece(f"knock:  enabled on udp/{gate.port}")]
    if state:
        line += [piece(", "), piece(state, tone)]
    if gate.verdicts:
        worst_last = sorted(gate.verdicts.items(), key=lambda item: (item[0] != "accepted", -item[1]))
        line.append(piece(" (" + ", ".join(f"{number} {verdict}" for verdict, number in worst_last) + ")"))
    if gate.dropped:
        line.append(piece(f", {gate.dropped} packets lost", "warn"))
    if gate.in_vain:
        who = "1 source knocks" if gate.in_vain == 1 else f"{gate.in_vain} sources knock"
        line.append(piece(f", {who} in vain", "warn"))
    return line


def gate_advice(gate: GateLine) -> list[Line]:
    """What to do about a gate that is shut, or works in vain."""
    if gate.state != "shut":
        said = "    knocks are heard, but who knocks does not come: does another firewall drop the port?"
        more = "    (or has that address as many connections as the rules allow? see --max-connections)"
        return [[piece(said, "warn")], [piece(more, "warn")]] if gate.in_vain else []
    # The most frequent reason by far: the ruleset is the operator's own step, and it was not taken.
    if "table-missing" in (gate.reason or ""):
        return [
            [piece("    the firewall's rules are not loaded, and without them the port answers nobody", "warn")],
            [piece("    next: sudo hyperion-server apply-firewall", "warn")],
        ]
    return [[piece("    next: look for HYP11 and HYP4003E in the log; until it works nobody new gets in", "warn")]]


def _admins(admins: list[AdminLine], *, running: bool) -> Line:
    line = [piece(f"admins: {len(admins)}")]
    here = [admin for admin in admins if admin.sessions]
    if here:
        named = ", ".join(f"{admin.name} ({units.count(admin.sessions, 'session')})" for admin in here[:SHOWN_ADMINS])
        more = f" and {len(here) - SHOWN_ADMINS} more" if len(here) > SHOWN_ADMINS else ""
        line.append(piece(f", connected: {named}{more}"))
    elif admins and running:
        line.append(piece(", none connected", "dim"))
    return line


def _grants(status: ServerStatus) -> Line:
    if status.gate is None or status.gate.state == "off":
        return [piece("grants: the gate is off: whoever the firewall lets in may try", "dim")]
    if not status.grants_open:
        return [piece("grants: none open")]
    shown = ", ".join(
        f"{grant.source} ({units.duration(grant.remaining_s)} left)" for grant in status.grants[:SHOWN_GRANTS]
    )
    more = f" and {status.grants_open - SHOWN_GRANTS} more" if status.grants_open > SHOWN_GRANTS else ""
    return [piece(f"grants: {status.grants_open} open: {shown}{more}")]


def _worker(worker: WorkerLine, now: float | None) -> list[Piece]:
    age = None if worker.started_at is None or now is None else now - worker.started_at
    return [
        piece(worker.name),
        piece(worker.state, "good" if worker.state == "up" else "bad"),
        piece(units.NOTHING if worker.pid is None else worker.pid),
        piece(units.duration(age)),
        piece(worker.sessions),
        piece(worker.streams),
        piece(units.volume(worker.bytes_in)),
        piece(units.volume(worker.bytes_out)),
        piece(worker.restarts, "warn" if worker.restarts else ""),
    ]


def _sessions(status: ServerStatus, width: int | None) -> list[Line]:
    rows = [
        [
            piece(session.admin),
            piece(f"{session.source} port {session.source_port}"),
            piece(units.duration(None if status.at is None else status.at - session.opened_at)),
            piece(session.worker),
            piece(session.id),
            piece(session.agent or units.NOTHING),
        ]
        for session in status.sessions
    ]
    lines = columns(SESSION_HEADER, rows, limit=width, keep=KEPT)
    more = status.sessions_open - len(status.sessions)
    return [*lines, [piece(f"and {more} more")]] if more > 0 else lines
