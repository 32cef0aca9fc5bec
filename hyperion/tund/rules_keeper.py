"""``python -m hyperion.tund.rules_keeper``: holds the routing rule for real addresses, and deletes it again.

A rule does not go with the device, as routes do: so there is a process that outlives a supervisor that was killed, if
only for a moment. It keeps CAP_NET_ADMIN, in effect for each change only. What is there already with our table and
priority, left behind by a keeper that was killed for example, goes before ours comes.

Knows pyroute2's rules (its synchronous API: no loop runs here).
"""

import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from hyperion import privileges
from hyperion.capabilities import Capability
from hyperion.errors import RefusedError
from hyperion.privileges import set_process_name
from hyperion.proto.control import Message
from hyperion.proto.control_keeper import RoutingRule
from hyperion.tund.keeper import CONTROL_FD, Keeper

#: linux/fib_rules.h: the condition is turned round.
FIB_RULE_INVERT = 0x2

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


def main() -> int:
    """The exit code."""
    set_process_name("hyp-rules")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    privileges.drop_to(None, privileges.held(frozenset({Capability.NET_ADMIN})))
    with socket.socket(fileno=CONTROL_FD) as control:
        return Keeper(control, hold).run()


def hold(message: Message) -> Callable[[], object]:
    """Sets the rule; what is returned deletes it. Raises ``RefusedError``, ``TypeError``."""
    if not isinstance(message, RoutingRule):
        raise TypeError(type(message).__name__)
    try:
        with privileges.raised(Capability.NET_ADMIN), IPRoute() as route:
            _clear(route, message)
            for version in message.versions:
                route.rule(
                    "add",
                    family=FAMILIES[version],
                    fwmark=message.mark,
                    fwmask=0xFFFFFFFF,
                    table=message.table,
                    priority=message.priority,
                    flags=FIB_RULE_INVERT,
                )
    except NetlinkError as error:
        raise RefusedError(f"the routing rule cannot be set: {os.strerror(error.code)}") from None
    except PermissionError:
        raise RefusedError("the routing rule cannot be set: permission denied", hint="it needs CAP_NET_ADMIN") from None
    return partial(_remove, message)


def _remove(message: RoutingRule) -> None:
    try:
        with privileges.raised(Capability.NET_ADMIN), IPRoute() as route:
            _clear(route, message)
    except NetlinkError as error:
        raise RefusedError(f"the routing rule cannot be deleted: {os.strerror(error.code)}") from None


def _clear(route: IPRoute, message: RoutingRule) -> None:
    """All rules of this table and priority, whoever set them."""
    for family in FAMILIES.values():
        for rule in list(route.get_rules(family=family)):
            if (rule.get("FRA_TABLE"), rule.get("FRA_PRIORITY", 0)) == (message.table, message.priority):
                route.rule("del", family=family, table=message.table, priority=message.priority)


if __name__ == "__main__":
    sys.exit(main())
