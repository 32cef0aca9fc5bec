"""What a member of the crew is, and how patient the supervisor is with it. Plain values."""

import socket
from dataclasses import dataclass

from hyperion.proto.control import ClientWorkerConfig, ServerWorkerConfig


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the supervisor is, seconds. Tests are in more of a hurry."""

    #: A child that says nothing for so long is stuck: four heartbeats. Also the time it has to become ready.
    silence: float = 20.0
    #: A running child heard of within three heartbeats is in good health.
    freshness: float = 15.0
    #: From the order to stop, or the end of the channel, to SIGKILL; on top of the time that a drain is given.
    grace: float = 5.0


@dataclass(frozen=True, slots=True)
class Spec:
    """What a member is: its name in logs and in ``ps``, its entry point, its configuration and its sockets."""

    name: str
    process_name: str
    entry: str
    config: ServerWorkerConfig | ClientWorkerConfig
    listeners: tuple[socket.socket, ...]
