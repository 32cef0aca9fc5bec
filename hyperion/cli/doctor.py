"""``doctor``: goes through the door of every server, and says where it stuck.

Knows how a probe's report is shown. The probe itself is ``hyperion.worker.probe``, or what a test hands in.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from hyperion.cli.around import sockets_around
from hyperion.cli.loading import client_path, load_client_config, terminal_prompt
from hyperion.cli.output import say
from hyperion.config import ClientConfig, KnockSettings, Secrets, ServerEntry
from hyperion.errors import ConfigError, TemporaryError, one_line
from hyperion.loop import run
from hyperion.privileges import disable_core_dumps
from hyperion.proto.handover import KNOCK_UNANSWERED
from hyperion.proto.keys import PrivateKey
from hyperion.proto.skew import is_far
from hyperion.worker.knocker import MakeSocket

SCHEMA = "hyperion.doctor/1"

#: At least one server cannot be used.
EXIT_SOME_FAILED = 1
#: The only server that was asked for did not open to a knock: trying again may help.
EXIT_NOT_OPENED = TemporaryError.exit_code
#: A clock further off than this, milliseconds, makes knocks fail at a server with the usual window.
WINDOW_MS = 30_000


class Step(Protocol):
    """One step of a probe, how long it took, and how often it was done."""

    @property
    def name(self) -> str: ...
    @property
    def milliseconds(self) -> float: ...
    @property
    def ok(self) -> bool: ...
    @property
    def count(self) -> int: ...


class Report(Protocol):
    """What a probe found. ``reason`` is a stable word, ``message`` for people; from ``server_name`` to ``ports`` it is
    the server's own. ``causes``: what may be wrong if knocks did not help, the likeliest first."""

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
    @property
    def knocks(self) -> int: ...
    @property
    def causes(self) -> Sequence[str]: ...


class Probe(Protocol):
    """Probes one server within a deadline in seconds. Failures of the server are in the report, not raised."""

    def __call__(
        self,
        entry: ServerEntry,
        identity: PrivateKey,
        timeout: float,
        knock: KnockSettings,
        make_socket: MakeSocket = ...,
        /,
    ) -> Awaitable[Report]: ...


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
    knocks: int
    causes: list[str]


#: As many servers are counted at the end.
MANY = 4


class DoctorDocument(msgspec.Struct):
    """What ``--json`` prints."""

    schema: str
    servers: list[ServerDocument]


def run_doctor(config_file: Path | None, names: Sequence[str], *, as_json: bool, timeout: float, probe: Probe) -> int:
    """Probes the servers called ``names`` (all if there are none), each step within ``timeout`` seconds."""
    disable_core_dumps()
    path = client_path(config_file)
    config = load_client_config(path, Secrets(terminal_prompt()), names)
    servers = _chosen(config, names)
    make_socket = sockets_around(servers) or socket.socket

    async def ask(server: ServerEntry) -> Report:
        return await probe(server, config.identity, timeout, config.knock, make_socket)

    return run(lambda: _examine(servers, ask, as_json=as_json))


def _chosen(config: ClientConfig, names: Sequence[str]) -> list[ServerEntry]:
    """In the order of the file, whatever the order of ``names``."""
    if not config.servers:
        raise ConfigError(f"{config.path}: [[server]]: expected at least one, got none")
    return [server for server in config.servers if not names or server.name in names]


async def _examine(
    servers: list[ServerEntry], ask: Callable[[ServerEntry], Coroutine[None, None, Report]], *, as_json: bool
) -> int:
    reports: list[Report] = []
    told = _Told({}, set())
    width = max(len(_title(server)) for server in servers)
    tasks = [asyncio.create_task(ask(server)) for server in servers]
    try:
        for server, task in zip(servers, tasks, strict=True):
            report = await task
            reports.append(report)
            if not as_json:
                # As soon as it is known: one server that hangs holds up only the lines below it.
                _show(_title(server).ljust(width), report, told)
    finally:
        for task in tasks:
            task.cancel()
    if as_json:
        say(msgspec.json.encode(DoctorDocument(SCHEMA, [_document(report) for report in reports])).decode())
    else:
        _show_clock_hint(reports)
        _show_count(reports)
    return _exit_code(reports)


def _exit_code(reports: Sequence[Report]) -> int:
    if all(report.ok for report in reports):
        return 0
    return EXIT_NOT_OPENED if [report.reason for report in reports] == [KNOCK_UNANSWERED] else EXIT_SOME_FAILED


def _show_clock_hint(reports: Sequence[Report]) -> None:
    """A server that did not open cannot tell the time; another one can."""
    if all(report.reason != KNOCK_UNANSWERED for report in reports):
        return
    for report in reports:
        if report.skew_ms is not None and abs(report.skew_ms) > WINDOW_MS:
            away = f"{report.skew_ms / 1000:+.0f} s"
            say(f"hint: {report.server}'s clock is {away} from this one: if this one is wrong, set it")
            return


def _show_count(reports: Sequence[Report]) -> None:
    """Where there are too many to see it."""
    if len(reports) < MANY:
        return
    failed = [report.server for report in reports if not report.ok]
    which = f"; not: {', '.join(failed)}" if failed else ""
    say(f"{len(reports) - len(failed)} of {len(reports)} servers ok{which}")


def _title(server: ServerEntry) -> str:
    return f"{server.name} ({server.endpoint})"


def _show(title: str, report: Report, told: "_Told") -> None:
    if report.ok:
        steps = "".join(f"  {_step(step)}" for step in report.steps)
        say(f"{title} ... ok{steps}")
        if report.skew_ms is not None and is_far(report.skew_ms):
            say(f"  warning: the server's clock differs from this one by {report.skew_ms / 1000:+.0f} s")
            say("  hint: set both clocks by NTP")
        return
    say(f"{title} ... FAIL: {one_line(report.message or report.reason or 'unknown')}")
    if report.steps:
        done = [f"{_step(step)}{'' if step.ok else ' (failed)'}" for step in report.steps]
        say(f"  steps: {', '.join(done)}")
    _show_advice(report, told)


class _Told(NamedTuple):
    """Causes, with the server that they were first told of, and hints: of forty dead servers, each is told once."""

    causes: dict[tuple[str, ...], str]
    hints: set[str]


def _show_advice(report: Report, told: _Told) -> None:
    causes = tuple(report.causes)
    if causes and (first := told.causes.setdefault(causes, report.server)) != report.server:
        say(f"  likely causes: as for {first}")
    elif causes:
        say("  likely causes, the likeliest first:")
        for number, cause in enumerate(causes, 1):
            say(f"    {number}. {one_line(cause)}")
    if report.hint is not None and report.hint not in told.hints:
        told.hints.add(report.hint)
        say(f"  hint: {one_line(report.hint)}")


def _step(step: Step) -> str:
    times = f" x{step.count}" if step.count > 1 else ""
    return f"{step.name}{times} {step.milliseconds:.1f} ms"


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
        knocks=report.knocks,
        causes=list(report.causes),
    )
