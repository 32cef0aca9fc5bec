"""All children together: who is in, who is leaving, whether all are ready, and how all of them end.

Knows names and counts. Refuses to know why anybody is added or ordered to leave.
"""

import asyncio
from collections.abc import Callable

from hyperion import log
from hyperion.errors import ChildError
from hyperion.events import INTERNAL_ERROR
from hyperion.proto.control import (
    Drain,
    Heartbeat,
    Poll,
    Ready,
    ServerPolicy,
    SessionClosed,
    SessionOpened,
    Stop,
    TunnelState,
    WorkerToSupervisor,
)
from hyperion.supervisor.member import Member
from hyperion.supervisor.process import Launcher
from hyperion.supervisor.restart import MAX_RESTARTS, RestartBudget, RestartPolicy
from hyperion.supervisor.spec import Spec, Timing


class Crew:
    """The children of one supervisor. ``failed`` holds a ``ChildError`` once the service cannot go on."""

    def __init__(self, launcher: Launcher, timing: Timing, changed: Callable[[], None]) -> None:
        """``changed`` is called when ``heartbeats``, ``tunnels`` or ``sessions`` changed."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heartbeats: dict[str, Heartbeat] = {}
        self.tunnels: dict[str, TunnelState] = {}
        #: By worker, then by id. Those of a worker that ended are gone with it.
        self.sessions: dict[str, dict[str, SessionOpened]] = {}
        self._launcher = launcher
        self._timing = timing
        self._changed = changed
        self._budget = RestartBudget()
        self._members: dict[str, Member] = {}
        self._tasks: dict[asyncio.Task[None], Member] = {}
        self._started = False
        #: All have been told to end.
        self.leaving = False

    @property
    def names(self) -> list[str]:
        """Of those that are in and not leaving."""
        return list(self._members)

    def add(self, spec: Spec) -> None:
        """Starts a child. Whoever had that name must have been told to leave."""
        assert spec.name not in self._members
        member = Member(spec, self._launcher, RestartPolicy(self._budget), self._timing, self._heard)
        self._members[spec.name] = member
        # One restart each within a minute must be possible, however many there are.
        self._budget.limit = max(MAX_RESTARTS, len(self._members))
        task = asyncio.create_task(member.run())
        self._tasks[task] = member
        task.add_done_callback(self._ended)

    def retire(self, name: str, timeout: float) -> None:
        """This one drains and leaves, in ``timeout`` seconds at the latest; its name is free at once."""
        self._forget(name)
        self._members.pop(name).leave(Drain(timeout))

    def reconfigure(self, specs: list[Spec], policy: ServerPolicy) -> None:
        """The same children under new rules: now, and at each later start."""
        for spec in specs:
            member = self._members[spec.name]
            member.spec = spec
            member.send(policy)

    def poll(self) -> None:
        """Asks all for their numbers of now; they arrive as every heartbeat does."""
        for member in self._members.values():
            member.send(Poll())

    async def ready(self) -> None:
        """Returns once all are ready. Waits for ever if one cannot: see ``failed``."""
        for member in list(self._members.values()):
            await member.ready.wait()
        self._started = True

    def is_fresh(self) -> bool:
        """Whether every running child was heard of lately."""
        return all(member.is_fresh() for member in self._members.values())

    def leave(self, order: Drain | Stop) -> None:
        """All end on this order; those that are draining already, too."""
        self.leaving = True
        for member in self._tasks.values():
            member.leave(order)

    def kill(self) -> None:
        """All end now."""
        self.leaving = True
        for member in self._tasks.values():
            member.kill()

    async def gone(self) -> None:
        """Returns once no child is left."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _heard(self, member: Member, message: WorkerToSupervisor) -> None:
        name = member.spec.name
        if self._members.get(name) is not member:  # it is leaving, and its successor speaks for the name
            return
        match message:
            case Heartbeat():
                self.heartbeats[name] = message
            case TunnelState():
                self.tunnels[name] = message
            case SessionOpened():
                self.sessions.setdefault(name, {})[message.id] = message
            case SessionClosed():
                self.sessions.get(name, {}).pop(message.id, None)
            case Ready():
                # A new life: what the last one said of itself is history.
                self.sessions.pop(name, None)
            case _:
                return
        self._changed()

    def _ended(self, task: asyncio.Task[None]) -> None:
        member = self._tasks.pop(task)
        if self._members.get(member.spec.name) is member:
            del self._members[member.spec.name]
            self._forget(member.spec.name)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ChildError):
            log.event(INTERNAL_ERROR, log.error_fields(error))
        if isinstance(error, ChildError) and self._started and self._members:
            return  # logged by the member; those that serve go on
        if error is None and self._members:
            return
        self._fail(error or ChildError("no worker is left"))

    def _forget(self, name: str) -> None:
        self.heartbeats.pop(name, None)
        self.tunnels.pop(name, None)
        self.sessions.pop(name, None)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            # Whoever is on the way out for another reason does not ask.
            self.failed.exception()
