"""Messages between the supervisor and a keeper: a child that holds a change to this machine, and takes it back when the
supervisor says so or is gone.

Two closed unions, as in ``proto.control``, whose framing, limits and common words they share.
"""

from hyperion.proto.control import Fault, Message, Pulse, Ready, Stop

__all__ = ["Fault", "HostNames", "KeeperToSupervisor", "Pulse", "Ready", "RoutingRule", "Stop", "SupervisorToKeeper"]


class HostNames(Message, frozen=True, tag="host-names"):
    """Our part of the hosts file at ``path``: pairs of address and name.

    The first message, and again after a reload.
    """

    path: str
    names: tuple[tuple[str, str], ...]


class RoutingRule(Message, frozen=True, tag="routing-rule"):
    """For each of the IP ``versions``: what does not carry ``mark`` looks into ``table`` first.

    One rule, not one for each server: "not" turns a whole rule round, so that the rule of one server would send the
    marked packets of all the others into the table.
    """

    versions: tuple[int, ...]
    mark: int
    table: int
    priority: int


SupervisorToKeeper = HostNames | RoutingRule | Stop
KeeperToSupervisor = Ready | Pulse | Fault
