"""One place in the crew: the child that fills it now, and the next one when that ends.

Knows the life of a child: start, configuration, messages, heartbeats, end, and what is logged of it. Refuses to know
the other members, and the rules of restarting (``restart``).
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable

from hyperion.channel import Channel, ChannelError
from hyperion.errors import ChildError
from hyperion.proto.control import Drain, Fault, Heartbeat, Message, Ready, Stop
from hyperion.supervisor.conversation import Conversation
from hyperion.supervisor.execute import execute
from hyperion.supervisor.life import Facts, Life
from hyperion.supervisor.process import Launcher, Process
from hyperion.supervisor.restart import GiveUp, RestartPolicy
from hyperion.supervisor.spec import Spec, Timing

#: Seconds that a child has once more after its silence, before it is judged. Maybe it was we who were stopped, or
#: starved, and what it said is still to be read; or the whole machine stood still, and it is about to speak.
SECOND_CHANCE = 1.0

Report = Callable[["Member", Message], None]


class Member:
    """``run`` it as a task. It returns when the member has left the crew, or was given up."""

    def __init__(self, spec: Spec, launcher: Launcher, policy: RestartPolicy, timing: Timing, report: Report) -> None:
        self.spec = spec
        self.ready = asyncio.Event()
        self._launcher = launcher
        self._policy = policy
        self._timing = timing
        self._report = report
        self._leaving = asyncio.Event()
        self._order: Drain | Stop | None = None
        self._process: Process | None = None
        self._channel: Channel[Message] | None = None
        self._killed = False
        self._heard_at = 0.0
        self._ever_ready = False
        self._ready_at: float | None = None
        self._last_end: str | None = None

    async def run(self) -> None:
        """Keeps the place filled. Raises ``ChildError`` if no child ever became ready."""
        while not self._leaving.is_set():
            self._policy.started(_now())
            life = Life(self.spec.name)
            await self._live(life)
            self._ready_at, self._last_end = None, life.reason()
            if self._leaving.is_set():
                life.log_stopped()
                return
            verdict = self._policy.ended(life.exit_code, _now())
            if life.exit_code == 0:  # somebody drained this one by hand
                life.log_stopped()
            else:
                life.log_crashed(self._policy.restarts, given_up=isinstance(verdict, GiveUp))
            if isinstance(verdict, GiveUp):
                self._give_up(life, verdict)
                return
            await self._wait_until(verdict.at)

    def send(self, message: Message) -> None:
        """A message to the running child, if there is one; the next child gets its configuration anyway."""
        if self._channel is not None:
            self._say(message)

    def leave(self, order: Drain | Stop) -> None:
        """Orders the child to end, and kills it if it has not when its time is over. A later order replaces it."""
        self._leaving.set()
        self._order = order
        if self._channel is not None:
            self._say(order)
        patience = self._timing.grace + (order.timeout if isinstance(order, Drain) else 0.0)
        asyncio.get_running_loop().call_later(patience, self._out_of_patience, order)

    def kill(self) -> None:
        """Ends the child now."""
        self._killed = True
        self._leaving.set()
        if self._process is not None:
            self._process.kill()

    def is_fresh(self) -> bool:
        """Whether the running child was heard of lately.

        One that is being restarted is no business of the watchdog: restarting the whole service would end the sessions
        of the children that are well.
        """
        return self._process is None or _now() - self._heard_at < self._timing.freshness

    def facts(self) -> Facts:
        """What an operator is told of this place."""
        process = self._process
        state = "up" if self.ready.is_set() else "restarting" if self._policy.restarts else "starting"
        return Facts(
            state=state,
            pid=None if process is None else process.pid,
            started_at=self._ready_at,
            restarts=self._policy.restarts,
            reason=self._last_end,
            heard_s=None if process is None else round(_now() - self._heard_at, 3),
        )

    async def _live(self, life: Life) -> None:
        """One child, from start to end."""
        try:
            process, channel = await self._launch()
        except (OSError, EOFError) as error:
            detail = error.strerror if isinstance(error, OSError) else None
            life.cause = f"it could not be started: {detail or type(error).__name__}"
            self._fall_silent()
            return
        self._process, self._channel, self._heard_at = process, channel, _now()
        life.pid = process.pid
        try:
            self._say(self.spec.config)
            # What was ordered while the child was being started.
            if self._order is not None:
                self._say(self._order)
            if self._killed:
                process.kill()
            await self._listen(channel, self.spec.kind.conversation(process.pid, self.spec.config), life)
            # Before the process has ended: the kernel may keep one that hangs in a call for as long as it likes.
            self._fall_silent()
            life.exit_code = await self._end(process)
        finally:
            self._process = self._channel = None
            channel.abort()
            process.close()

    async def _launch(self) -> tuple[Process, Channel[Message]]:
        ours, theirs = socket.socketpair()
        process = None
        try:
            with theirs:
                process = self._start(theirs)
            return process, await Channel.open(ours, self.spec.kind.decoder)
        except BaseException:
            ours.close()
            if process is not None:
                process.close()
            raise

    def _start(self, channel: socket.socket) -> Process:
        spec = self.spec
        kind = spec.kind
        if kind.rights is None:
            return self._launcher.launch(spec.entry, spec.process_name, channel, spec.listeners)
        return execute(spec.entry, channel, kind.rights | kind.welcome)

    async def _listen(self, channel: Channel[Message], conversation: Conversation, life: Life) -> None:
        """Until the child closed its end, went silent, or said what it may not; the last two end it."""
        try:
            while True:
                message = await self._receive(channel)
                if message is None:
                    return
                conversation.check(message)
                self._heard_at = _now()
                self._note(message, life)
        except TimeoutError:
            life.cause = f"it was silent for {self._patience() + SECOND_CHANCE:g} s"
        except ChannelError as error:
            life.cause = str(error)
        if self._process is not None:
            self._process.kill()

    async def _receive(self, channel: Channel[Message]) -> Message | None:
        """Raises ``TimeoutError`` after a silence that was the child's."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience()):
                return await channel.receive()
        async with asyncio.timeout(SECOND_CHANCE):
            return await channel.receive()

    def _patience(self) -> float:
        """The longest silence, seconds."""
        silence = self.spec.kind.silence if self.ready.is_set() else None
        return self._timing.silence if silence is None else min(silence, self._timing.silence)

    def _fall_silent(self) -> None:
        """Nothing more will be heard of this child."""
        self.ready.clear()
        if self.spec.ended is not None:
            self.spec.ended()

    def _note(self, message: Message, life: Life) -> None:
        match message:
            case Ready():
                self._policy.ready()
                self._ever_ready = True
                self._ready_at = time.time()
                self.ready.set()
                life.log_ready()
            case Heartbeat(sessions=sessions):
                life.sessions = sessions
            case Fault():
                life.cause = message.words()
            case _:
                pass
        if self.spec.heard is not None:
            self.spec.heard(message)
        self._report(self, message)

    async def _end(self, process: Process) -> int | None:
        """The exit code of a child whose channel has ended; it has a moment to end by itself."""
        try:
            async with asyncio.timeout(self._timing.grace):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()

    def _say(self, message: Message) -> None:
        assert self._channel is not None
        try:
            self._channel.send(message)
        except ChannelError:  # it does not read
            self._channel.abort()

    def _out_of_patience(self, order: Drain | Stop) -> None:
        if self._order is order and self._process is not None:
            self._process.kill()

    async def _wait_until(self, at: float) -> None:
        try:
            async with asyncio.timeout_at(at):
                await self._leaving.wait()
        except TimeoutError:
            return

    def _give_up(self, life: Life, verdict: GiveUp) -> None:
        if not self._ever_ready:
            raise ChildError(
                f"{self._called()} cannot start: {life.reason()}", hint=f"given up because {verdict.reason}"
            )

    def _called(self) -> str:
        kind = self.spec.kind
        return kind.name if kind.is_helper else f"{kind.name} {self.spec.name}"


def _now() -> float:
    return asyncio.get_running_loop().time()
