"""What a client tells its operator. Pure: from what is known to the document.

Knows which state a server is in and which is worse. Refuses to know where the facts come from.
"""

import os
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hyperion import __version__
from hyperion.config import ClientConfig, ServerEntry
from hyperion.proto.control import Heartbeat, TunnelState
from hyperion.proto.operator import ClientStatus, ForwardLine, TransparentLine, TunnelLine
from hyperion.supervisor.life import Facts

#: Worst first.
STATES = ("failed", "down", "restarting", "starting", "connecting", "degraded", "up")

#: The reason of a pool that has not failed yet.
CONNECTING = "connecting"


class Known(NamedTuple):
    """What is known of one server's worker."""

    facts: Facts
    state: TunnelState | None
    beat: Heartbeat | None


def client_status(
    config: ClientConfig,
    known: Mapping[str, Known],
    forwards: Mapping[str, Sequence[ForwardLine]],
    *,
    phase: str,
    started_at: float,
    log_path: str | None,
    transparent: TransparentLine | None = None,
    socks: Sequence[str] = (),
    real: bool = False,
) -> ClientStatus:
    """The whole document; servers worst first, else in the order of the file. ``real``: transparent mode under real
    addresses, where no fake one leads anywhere."""
    lines = [
        tunnel_line(server, known[server.name], forwards.get(server.name, ()), real=real) for server in config.servers
    ]
    lines.sort(key=lambda line: STATES.index(line.state))
    up = sum(line.pool_up > 0 for line in lines)
    degraded = phase == "up" and any(line.state != "up" for line in lines)
    return ClientStatus(
        state="degraded" if degraded else phase,
        version=__version__,
        pid=os.getpid(),
        at=time.time(),
        started_at=started_at,
        config=str(config.path),
        log=log_path,
        servers_up=up,
        servers_total=len(lines),
        transparent=transparent,
        socks=list(socks),
        servers=lines,
    )


def tunnel_line(
    server: ServerEntry, known: Known, forwards: Sequence[ForwardLine], *, real: bool = False
) -> TunnelLine:
    """One server. ``real``: as of ``client_status``."""
    state, beat = known.state, known.beat
    # What a worker that is gone said of its tunnels is history.
    alive = state is not None and known.facts.state in ("up", "starting")
    told = state if alive and state is not None else TunnelState(0, server.pool_size, None, None)
    what = tunnel_state(known.facts, state if alive else None)
    gone = known.facts.reason if what in ("failed", "restarting") else None
    return TunnelLine(
        name=server.name,
        address=str(server.endpoint),
        state=what,
        reason="worker" if gone is not None else told.reason,
        message=told.message if gone is None else f"its worker ended: {gone}",
        hint=told.hint if gone is None else "see the log",
        next_attempt_at=told.next_attempt_at,
        fake_ip=None if real else str(server.virtual_ip),
        pool_up=told.up,
        pool_size=told.size,
        round_trip_ms=None if told.round_trip is None else round(told.round_trip * 1_000, 3),
        streams=0 if beat is None else beat.streams,
        streams_total=0 if beat is None else beat.streams_total,
        bytes_in=0 if beat is None else beat.bytes_in,
        bytes_out=0 if beat is None else beat.bytes_out,
        since=told.since,
        last_error_at=told.last_error_at,
        ports=None if told.ports is None else sorted(told.ports),
        skew_ms=told.skew_ms,
        agent=told.agent,
        server_name=told.server_name,
        pid=known.facts.pid,
        restarts=known.facts.restarts,
        heard_s=known.facts.heard_s,
        forwards=list(forwards),
    )


def tunnel_state(facts: Facts, state: TunnelState | None) -> str:
    """One of ``STATES``."""
    if facts.state in ("failed", "restarting"):
        return facts.state
    if state is None:
        return "starting"
    if state.up == 0:
        return CONNECTING if state.reason == CONNECTING else "down"
    return "up" if state.up >= state.size else "degraded"
