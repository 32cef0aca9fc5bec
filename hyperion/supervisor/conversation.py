"""What one child may say, and when. Pure.

The union of each direction already refuses what no child of a kind may say; this adds the order. Raising ends the
child.
"""

import ipaddress
from typing import Protocol

from hyperion.channel import ChannelError
from hyperion.proto.control import (
    Fault,
    Heartbeat,
    Listeners,
    Message,
    Ready,
    SessionClosed,
    SessionOpened,
    TunnelState,
)

#: Sessions that one worker may have open, as far as we believe it: it has no more descriptors. Each costs us about 500
#: bytes.
MAX_SESSIONS = 65_536

#: Listeners of transparent mode that one worker may have (``worker.transparent.MAX_PORTS``): tund is told of them all
#: in one message, which must not become too long to be said.
MAX_LISTENERS = 256


class Conversation(Protocol):
    """One life of one child."""

    def check(self, message: Message) -> None:
        """Raises ``ChannelError`` if it is not this child's turn to say that."""


class WorkerConversation:
    """``Ready`` once, with its own process id; heartbeats after it; nothing after ``Fault``.

    ``TunnelState`` is for children with tunnels, and may come before ``Ready``: a pool starts while its worker does.
    The others have sessions: each is opened once, then closed once.
    """

    def __init__(self, pid: int, *, tunnels: bool) -> None:
        self._turns = _Turns(pid)
        self._tunnels = tunnels
        self._sessions: set[str] = set()

    def check(self, message: Message) -> None:
        """See ``Conversation``."""
        self._turns.check(message)
        match message:
            case Heartbeat():
                if not self._turns.ready:
                    raise ChannelError("it sent a heartbeat before it was ready")
            case TunnelState() | Listeners():
                if not self._tunnels:
                    raise ChannelError("it spoke of tunnels, but has none")
                if isinstance(message, Listeners) and len(message.ports) > MAX_LISTENERS:
                    raise ChannelError(f"it listens on more than {MAX_LISTENERS} ports")
            case SessionOpened(id=name, source=source):
                self._opened(name)
                _check_address(source)
            case SessionClosed(id=name):
                if name not in self._sessions:
                    raise ChannelError("it closed a session that it had not opened")
                self._sessions.discard(name)
            case _:
                pass

    def _opened(self, name: str) -> None:
        if self._tunnels:
            raise ChannelError("it spoke of sessions, but has none")
        if not self._turns.ready:
            raise ChannelError("it opened a session before it was ready")
        if name in self._sessions:
            raise ChannelError("it opened a session twice")
        if len(self._sessions) >= MAX_SESSIONS:
            raise ChannelError(f"it opened more than {MAX_SESSIONS} sessions")
        self._sessions.add(name)


def _check_address(text: str) -> None:
    """The gate and the trial of a ruleset reckon with it."""
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        raise ChannelError("it named a source that is no address") from None


class HelperConversation:
    """``Ready`` once and first, with its own process id, unless it is a ``Fault``; nothing after ``Fault``."""

    def __init__(self, pid: int) -> None:
        self._turns = _Turns(pid)

    def check(self, message: Message) -> None:
        """See ``Conversation``."""
        self._turns.check(message)
        if not self._turns.ready and not isinstance(message, Fault):
            raise ChannelError(f"it sent {type(message).__name__} before it was ready")


class _Turns:
    """What holds for all children."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.ready = False
        self._faulted = False

    def check(self, message: Message) -> None:
        if self._faulted:
            raise ChannelError("it went on talking after it reported a fault")
        match message:
            case Ready(pid=pid):
                if self.ready:
                    raise ChannelError("it said twice that it is ready")
                if pid != self._pid:
                    raise ChannelError(f"it calls itself process {pid}, but is {self._pid}")
                self.ready = True
            case Fault():
                self._faulted = True
            case _:
                pass
