"""What a server tells its operator. Pure: from what is known to the document.

Knows what makes a server less than whole: a worker that is away, a gate that lets nobody in. Refuses to know where the
facts come from.
"""

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from hyperion import __version__
from hyperion.config import Admin
from hyperion.proto.control import Heartbeat, SessionOpened
from hyperion.proto.operator import (
    MAX_LISTED_GRANTS,
    MAX_LISTED_SESSIONS,
    GateLine,
    GrantLine,
    ServerStatus,
    SessionLine,
    WorkerLine,
)
from hyperion.supervisor.admin_lines import admin_lines
from hyperion.supervisor.life import Facts


def server_status(
    *,
    listen: str,
    config_path: str,
    log_path: str | None,
    phase: str,
    started_at: float,
    egress: Sequence[int],
    admins: Sequence[Admin],
    workers: Mapping[str, tuple[Facts, Heartbeat | None]],
    sessions: Mapping[str, Mapping[str, SessionOpened]],
    gate: GateLine,
    grants: Sequence[GrantLine] = (),
) -> ServerStatus:
    """The whole document. ``sessions``: by worker."""
    lines = [worker_line(name, facts, beat) for name, (facts, beat) in workers.items()]
    # Sessions of a worker that is away are over, whether it could say so or not.
    here = [
        (name, session)
        for name, opened in sessions.items()
        if name in workers and workers[name][0].state == "up"
        for session in opened.values()
    ]
    reason = trouble(lines, gate) if phase == "up" else None
    return ServerStatus(
        state="degraded" if reason else phase,
        reason=reason,
        version=__version__,
        pid=os.getpid(),
        at=time.time(),
        started_at=started_at,
        config=config_path,
        log=log_path,
        listen=listen,
        egress=sorted(egress),
        gate=gate,
        workers=lines,
        admins=admin_lines(admins, Counter(session.admin for _, session in here)),
        sessions_open=len(here),
        sessions=session_lines(here),
        grants_open=len(grants),
        grants=sorted(grants, key=lambda grant: grant.remaining_s, reverse=True)[:MAX_LISTED_GRANTS],
    )


def trouble(workers: Sequence[WorkerLine], gate: GateLine) -> str | None:
    """Why the server is less than whole; ``None`` if it is."""
    if gate.state == "shut":
        return "the gate is shut" + (f": {gate.reason}" if gate.reason else "")
    away = [worker.name for worker in workers if worker.state != "up"]
    if away:
        return f"worker {', '.join(away)} {'is' if len(away) == 1 else 'are'} not up"
    return None


def worker_line(name: str, facts: Facts, beat: Heartbeat | None) -> WorkerLine:
    """One worker; the counters are those of its present life."""
    line = WorkerLine(
        name=name,
        state=facts.state,
        pid=facts.pid,
        started_at=facts.started_at,
        restarts=facts.restarts,
        reason=None if facts.state == "up" else facts.reason,
        heard_s=facts.heard_s,
    )
    if beat is None or facts.state != "up":
        return line
    return msgspec.structs.replace(
        line,
        sessions=beat.sessions,
        streams=beat.streams,
        sessions_total=beat.sessions_total,
        streams_total=beat.streams_total,
        bytes_in=beat.bytes_in,
        bytes_out=beat.bytes_out,
    )


def session_lines(sessions: Sequence[tuple[str, SessionOpened]]) -> list[SessionLine]:
    """The newest, if they are too many."""
    newest = sorted(sessions, key=lambda item: item[1].at, reverse=True)[:MAX_LISTED_SESSIONS]
    return [
        SessionLine(
            id=session.id,
            admin=session.admin,
            source=session.source,
            source_port=session.source_port,
            worker=worker,
            opened_at=session.at,
            agent=session.agent,
        )
        for worker, session in newest
    ]
