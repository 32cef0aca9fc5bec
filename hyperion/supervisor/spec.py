"""What a member of the crew is, and how patient the supervisor is with it. Plain values."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from hyperion.proto.control import Message
from hyperion.supervisor.kind import WORKER, Kind


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the supervisor is, seconds. Tests are in more of a hurry."""

    #: A child that says nothing for so long is stuck: four heartbeats. Also the time it has to become ready. Of one
    #: that is ready its kind may ask for more (``Kind.silence``). It is judged ``member.SECOND_CHANCE`` later.
    silence: float = 20.0
    #: A running child heard of within three heartbeats is in good health.
    freshness: float = 15.0
    #: From the order to stop, or the end of the channel, to SIGKILL; on top of the time that a drain is given.
    grace: float = 5.0


@dataclass(frozen=True, slots=True)
class Spec:
    """What a member is: its name in logs and in ``ps``, its entry point, its configuration and its sockets.

    ``entry``: ``package.module:function`` of a worker, the module that a helper is (``Kind``); a helper has no
    listeners. ``heard`` is called with everything the child says, ``ended`` once nothing more will be heard of it,
    however that came.
    """

    name: str
    process_name: str
    entry: str
    config: Message
    listeners: tuple[socket.socket, ...] = ()
    kind: Kind = WORKER
    # Who listens is no part of what a member is: two specs that differ in it only are equal.
    heard: Callable[[Message], None] | None = field(default=None, compare=False)
    ended: Callable[[], None] | None = field(default=None, compare=False)
