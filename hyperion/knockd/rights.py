"""Gives up every right of knockd but one: changing the firewall.

Knows what knockd needs; how rights are given up is in ``hyperion.capabilities``. Does not know when: the caller has
opened its packet sockets before, and has started no thread yet (rights belong to threads).

CAP_NET_ADMIN stays in the inheritable and ambient sets as well, so that an ``nft`` started by us may do what we may:
it is not root's program when we are not root. Source: capabilities(7).
"""

from hyperion import capabilities
from hyperion.capabilities import PR_SET_NO_NEW_PRIVS, Capability, Sets
from hyperion.privileges import disable_core_dumps, forbid_peeking

ONLY = frozenset({Capability.NET_ADMIN})


def keep_only_net_admin() -> None:
    """For good: no capability but CAP_NET_ADMIN, no new rights, no core, no peeking.

    Raises ``OSError`` where we do not hold CAP_NET_ADMIN: without it the gate could never open.
    """
    disable_core_dumps()
    forbid_peeking()
    capabilities.prctl(PR_SET_NO_NEW_PRIVS, 1)
    capabilities.set_ambient()
    # Needs CAP_SETPCAP. Without it we may not bound, and with no_new_privs we could not get more either.
    capabilities.drop_bounding(ONLY)
    capabilities.write(Sets(ONLY, ONLY, ONLY))
    capabilities.set_ambient(ONLY)
