"""Messages between the supervisor and tund, the process that turns packets round.

Two closed unions, as in ``proto.control``, whose framing, limits and common words (ready, stop, fault) they share. No
secret travels here: tund knows addresses and ports.
"""

import msgspec

from hyperion.proto.control import Fault, Message, Ready, Stop

__all__ = [
    "DeviceMade",
    "DeviceSettings",
    "Fault",
    "ForgetTarget",
    "Ready",
    "ReflectorCounts",
    "Stop",
    "SupervisorToTund",
    "TargetState",
    "TundConfig",
    "TundToSupervisor",
    "WantListener",
]


class DeviceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The device as it is to be. Addresses in text with the length of their prefix, ``10.99.0.1/24``.

    ``ipv6`` is left out where the machine has no IPv6. ``routes``: networks that lead to the device besides its own
    subnets, in routing table ``table`` (0: the main one). ``mtu`` in bytes. ``offload``: the kernel may leave checksums
    and the cutting up of large segments to us, who leave them to the kernel again.
    """

    name: str
    ipv4: str
    ipv6: str | None
    mtu: int
    routes: tuple[str, ...] = ()
    table: int = 0
    offload: bool = True


class TundConfig(Message, frozen=True, tag="tund-config"):
    """First message to tund.

    ``exclusive``: refuse to start where a network of the device is in use already; otherwise somebody else has asked.
    """

    device: DeviceSettings
    exclusive: bool = True


class TargetState(Message, frozen=True, tag="target-state"):
    """All there is to know of one server; replaces what was known.

    ``addresses`` in text. ``up``: its tunnel stands, and new connections are welcome. ``listeners``: remote port and
    the port on which its worker listens for that; of several for one remote port the last, and the others are of
    workers that drain, whose answers still count. ``closed``: no other port is allowed; else ``WantListener`` may ask
    for more.
    """

    name: str
    addresses: tuple[str, ...]
    up: bool
    closed: bool
    listeners: tuple[tuple[int, int], ...]


class ForgetTarget(Message, frozen=True, tag="forget-target"):
    """There is no such server any more."""

    name: str


class DeviceMade(Message, frozen=True, tag="device-made"):
    """The device is there, with these addresses of its own (text; one of them where the machine has no IPv6).

    ``shortcut``: segments of standing connections are turned round in the kernel.
    """

    name: str
    addresses: tuple[str, ...]
    shortcut: bool


class WantListener(Message, frozen=True, tag="want-listener"):
    """Somebody connects to a port of this server that no listener is there for yet."""

    name: str
    port: int


class ReflectorCounts(Message, frozen=True, tag="reflector-counts"):
    """Packets by what became of them, since tund's start. Every few seconds: it also says that tund is alive."""

    counts: dict[str, int]


SupervisorToTund = TundConfig | TargetState | ForgetTarget | Stop
TundToSupervisor = Ready | DeviceMade | WantListener | ReflectorCounts | Fault
