"""``doctor``: goes through the door of every server, and says where it stuck.

Knows how a probe's report is shown. The probe itself is ``hyperion.worker.probe``, or what a test hands in.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from hyperion.cli.loading import client_path, load_client_config, terminal_prompt
from hyperion.cli.output import say
from hyperion.config import ClientConfig, Secrets, ServerEntry
from hyperion.config.forward import require_server
from hyperion.errors import ConfigError, one_line
from hyperion.loop import run
from hyperion.privileges import disable_core_dumps
from hyperion.proto.keys import PrivateKey

SCHEMA = "hyperion.doctor/1"

#: A clock that is further off than this, milliseconds, is told: knocks carry a time, and half a minute off they fail.
SKEW_WARNING_MS = 5_000

#: At least one server cannot be used.
EXIT_SOME_FAILED = 1


class Step(Protocol):
    """One step of a probe and how long it took."""

    @property
    def name(self) -> str: ...
    @property
    def milliseconds(self) -> float: ...
    @property
    def ok(self) -> bool: ...


class Report(Protocol):
    """What a probe found. ``reason`` is a stable word, ``message`` for people; the last four are the server's own."""

    @property
    def server(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def ok(self) -> bool: ...
    @property
    def steps(self) -> Sequence[Step]: ...
    @property
    def reason(self) -> str | None: ...
    @property
    def message(self) -> str | None: ...
    @property
    def hint(self) -> str | None: ...
    @property
    def round_trip_ms(self) -> float | None: ...
    @property
    def server_name(self) -> str | None: ...
    @property
    def agent(self) -> str | None: ...
    @property
    def skew_ms(self) -> float | None: ...
    @property
    def ports(self) -> Sequence[int] | None: ...


#: Probes one server within a deadline in seconds. Failures of the server are in the report, not raised.
Probe = Callable[[ServerEntry, PrivateKey, float], Awaitable[Report]]


class StepDocument(msgspec.Struct):
    """One step; times in milliseconds."""

    name: str
    ok: bool
    milliseconds: float


class ServerDocument(msgspec.Struct):
    """One server of ``--json``."""

    name: str
    address: str
    ok: bool
    reason: str | None
    message: str | None
    hint: str | None
    steps: list[StepDocument]
    round_trip_ms: float | None
    server_name: str | None
    agent: str | None
    skew_ms: float | None
    ports: list[int] | None


class DoctorDocument(msgspec.Struct):
    """What ``--json`` prints."""

    schema: str
    servers: list[ServerDocument]


def run_doctor(config_file: Path | None, names: Sequence[str], *, as_json: bool, timeout: float, probe: Probe) -> int:
    """Probes the servers called ``names`` (all if there are none), each step within ``timeout`` seconds."""
    disable_core_dumps()
    config = load_client_config(client_path(config_file), Secrets(terminal_prompt()))
    servers = _chosen(config, names)
    return run(lambda: _examine(servers, config.identity, as_json=as_json, timeout=timeout, probe=probe))


def _chosen(config: ClientConfig, names: Sequence[str]) -> list[ServerEntry]:
    """In the order of the file, whatever the order of ``names``."""
    for name in names:
        require_server(config, name)
    if not config.servers:
        raise ConfigError(f"{config.path}: [[server]]: expected at least one, got none")
    return [server for server in config.servers if not names or server.name in names]


async def _examine(
    servers: list[ServerEntry], identity: PrivateKey, *, as_json: bool, timeout: float, probe: Probe
) -> int:
    async def examine(server: ServerEntry) -> Report:
        return await probe(server, identity, timeout)

    reports: list[Report] = []
    width = max(len(_title(server)) for server in servers)
    tasks = [asyncio.create_task(examine(server)) for server in servers]
    try:
        for server, task in zip(servers, tasks, strict=True):
            report = await task
            reports.append(report)
            if not as_json:
                # As soon as it is known: one server that hangs holds up only the lines below it.
                _show(_title(server).ljust(width), report)
    finally:
        for task in tasks:
            task.cancel()
    if as_json:
        say(msgspec.json.encode(DoctorDocument(SCHEMA, [_document(report) for report in reports])).decode())
    return 0 if all(report.ok for report in reports) else EXIT_SOME_FAILED


def _title(server: ServerEntry) -> str:
    return f"{server.name} ({server.endpoint})"


def _show(title: str, report: Report) -> None:
    if report.ok:
        steps = "".join(f"  {step.name} {step.milliseconds:.1f} ms" for step in report.steps)
        say(f"{title} ... ok{steps}")
        if report.skew_ms is not None and abs(report.skew_ms) > SKEW_WARNING_MS:
            say(f"  warning: the server's clock differs from this one by {report.skew_ms / 1000:+.0f} s")
            say("  hint: set both clocks by NTP")
        return
    say(f"{title} ... FAIL: {one_line(report.message or report.reason or 'unknown')}")
    if report.steps:
        done = [f"{step.name} {step.milliseconds:.1f} ms{'' if step.ok else ' (failed)'}" for step in report.steps]
        say(f"  steps: {', '.join(done)}")
    if report.hint is not None:
        say(f"  hint: {one_line(report.hint)}")


def _document(report: Report) -> ServerDocument:
    return ServerDocument(
        name=report.server,
        address=report.address,
        ok=report.ok,
        reason=report.reason,
        message=report.message,
        hint=report.hint,
        steps=[StepDocument(step.name, step.ok, round(step.milliseconds, 3)) for step in report.steps],
        round_trip_ms=report.round_trip_ms,
        server_name=report.server_name,
        agent=report.agent,
        skew_ms=report.skew_ms,
        ports=None if report.ports is None else sorted(report.ports),
    )
