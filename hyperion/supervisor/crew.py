"""All children together: who is in, who is leaving, whether all are ready, and how all of them end.

Knows names and counts, and that helpers (``kind``) outlive the workers they help. Refuses to know why anybody is added
or ordered to leave.
"""

import asyncio
from collections.abc import Callable

from hyperion import log
from hyperion.errors import ChildError
from hyperion.events import INTERNAL_ERROR
from hyperion.proto.control import (
    Drain,
    Heartbeat,
    Message,
    Poll,
    Ready,
    ServerPolicy,
    SessionClosed,
    SessionOpened,
    Stop,
    TunnelState,
)
from hyperion.supervisor.clock import with_skew
from hyperion.supervisor.life import Facts
from hyperion.supervisor.member import Member
from hyperion.supervisor.process import Launcher
from hyperion.supervisor.restart import BUDGET_WINDOW, MAX_RESTARTS, RestartBudget, RestartPolicy
from hyperion.supervisor.spec import Spec, Timing


class Crew:
    """The children of one supervisor. ``failed`` holds a ``ChildError`` once the service cannot go on.

    Workers and helpers have their names apart: a server may well be called "knockd".
    """

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
        self._helpers: dict[str, Member] = {}
        self._tasks: dict[asyncio.Task[None], Member] = {}
        #: The last facts of those that are not started any more, by name, until one is added under it again.
        self._given_up: dict[str, Facts] = {}
        self._started = False
        #: All have been told to end.
        self.leaving = False

    @property
    def names(self) -> list[str]:
        """Of the workers that are in and not leaving."""
        return list(self._members)

    @property
    def helpers(self) -> list[str]:
        """Names of the helpers that are in and not leaving."""
        return list(self._helpers)

    def add(self, spec: Spec) -> None:
        """Starts a child. Whoever had that name must have been told to leave."""
        place = self._place(spec)
        assert spec.name not in place
        member = Member(spec, self._launcher, self._policy(spec), self._timing, self._heard)
        place[spec.name] = member
        if not spec.kind.is_helper:
            self._given_up.pop(spec.name, None)
        # One restart each within a minute must be possible, however many there are.
        self._budget.limit = max(MAX_RESTARTS, len(self._members))
        task = asyncio.create_task(member.run())
        self._tasks[task] = member
        task.add_done_callback(self._ended)

    def retire(self, name: str, timeout: float) -> None:
        """This worker drains and leaves, in ``timeout`` seconds at the latest; its name is free at once."""
        self._forget(name)
        self._members.pop(name).leave(Drain(timeout))

    async def replace_helper(self, spec: Spec) -> None:
        """The helper of that name stops, and when it has gone, another one starts: two would be in each other's way."""
        member = self._helpers.pop(spec.name, None)
        if member is not None:
            member.leave(Stop())
            await asyncio.wait([task for task, other in self._tasks.items() if other is member])
        if not self.leaving:
            self.add(spec)

    def reconfigure(self, specs: list[Spec], policy: ServerPolicy) -> None:
        """The same workers under new rules: now, and at each later start."""
        for spec in specs:
            self.update(spec, policy)

    def update(self, spec: Spec, message: Message) -> None:
        """The same child under new rules: ``message`` says it to the running one, ``spec`` to each later one."""
        member = self._place(spec)[spec.name]
        member.spec = spec
        member.send(message)

    def amend(self, spec: Spec) -> None:
        """The same child; from its next start on it is what ``spec`` says."""
        if (member := self._place(spec).get(spec.name)) is not None:
            member.spec = spec

    def tell(self, name: str, message: Message) -> None:
        """To the worker of that name, if it is in and runs."""
        if (member := self._members.get(name)) is not None:
            member.send(message)

    def has_helper(self, name: str) -> bool:
        """Whether the helper of that name is in, and ready."""
        member = self._helpers.get(name)
        return member is not None and member.ready.is_set()

    def tell_helper(self, name: str, message: Message) -> None:
        """To the helper of that name, if it is in and runs."""
        if (member := self._helpers.get(name)) is not None:
            member.send(message)

    def poll(self) -> None:
        """Asks all for their numbers of now; they arrive as every heartbeat does."""
        for member in self._members.values():
            member.send(Poll())

    @property
    def ready_names(self) -> list[str]:
        """Of the workers that are in and ready."""
        return [name for name, member in self._members.items() if member.ready.is_set()]

    def facts(self, name: str) -> Facts:
        """What an operator is told of that worker, also of one that was given up."""
        member = self._members.get(name)
        return self._given_up.get(name, Facts("failed")) if member is None else member.facts()

    async def ready(self) -> None:
        """Returns once all are ready. Waits for ever if one cannot: see ``failed``."""
        for member in [*self._helpers.values(), *self._members.values()]:
            await member.ready.wait()
        self._started = True

    def is_fresh(self) -> bool:
        """Whether every running child was heard of lately."""
        return all(member.is_fresh() for member in [*self._members.values(), *self._helpers.values()])

    def leave(self, order: Drain | Stop) -> None:
        """All end on this order; those that are draining already, too. Helpers stop when the workers have left."""
        self.leaving = True
        for member in self._tasks.values():
            if not member.spec.kind.is_helper:
                member.leave(order)
        self._release_helpers()

    def kill(self) -> None:
        """All end now."""
        self.leaving = True
        for member in self._tasks.values():
            member.kill()

    async def gone(self) -> None:
        """Returns once no child is left."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    def _place(self, spec: Spec) -> dict[str, Member]:
        return self._helpers if spec.kind.is_helper else self._members

    def _policy(self, spec: Spec) -> RestartPolicy:
        kind, budget = spec.kind, self._budget
        if kind.is_helper:
            # Of its own: a storm among the workers must not keep the gate shut, and its short wait may always be kept.
            budget = RestartBudget(int(BUDGET_WINDOW / kind.longest_wait))
        # At the start it is an error. Later the others serve, and maybe nobody can get in to do something about it.
        patient = kind.is_helper and self._started
        return RestartPolicy(budget, kind.longest_wait, kind.long_life, patient=patient)

    def _release_helpers(self) -> None:
        """Until the last worker has left, its routes and the guard of its gate stay."""
        if self.leaving and all(member.spec.kind.is_helper for member in self._tasks.values()):
            for member in self._tasks.values():
                member.leave(Stop())

    def _heard(self, member: Member, message: Message) -> None:
        name = member.spec.name
        if self._members.get(name) is not member:  # it is leaving, and its successor speaks for the name; or a helper
            return
        match message:
            case Heartbeat():
                self.heartbeats[name] = message
            case TunnelState():
                self.tunnels[name] = message
                member.spec = with_skew(member.spec, message.skew_ms)
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
        self._vacate(member)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, ChildError):
            log.event(INTERNAL_ERROR, log.error_fields(error))
        self._release_helpers()
        if isinstance(error, ChildError) and self._started and self._members:
            return  # logged by the member; those that serve go on
        if error is None and self._members:
            return
        self._fail(error or ChildError("no worker is left"))

    def _vacate(self, member: Member) -> None:
        """Nobody has that name any more."""
        place, name = self._place(member.spec), member.spec.name
        if place.get(name) is not member:
            return
        del place[name]
        if not member.spec.kind.is_helper:
            self._forget(name)
            self._given_up[name] = member.facts()._replace(state="failed")

    def _forget(self, name: str) -> None:
        self.heartbeats.pop(name, None)
        self.tunnels.pop(name, None)
        self.sessions.pop(name, None)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)
            # Whoever is on the way out for another reason does not ask.
            self.failed.exception()
