"""Whether transparent mode can be had here, and if not, in words, why not and what would help.

Knows the packages of the ``tun`` extra by name and the one right that is needed. Imports none of those packages: the
client is to work without them.
"""

import sys
from importlib.util import find_spec

from hyperion.capabilities import Capability
from hyperion.errors import HyperionError, RefusedError, UsageError
from hyperion.privileges import held

#: Modules of the ``tun`` extra.
NEEDED = ("pytun", "pyroute2")


def obstacle() -> HyperionError | None:
    """What stands in the way; ``None``: nothing."""
    if sys.platform != "linux":
        return UsageError("transparent mode needs Linux", hint="forwards (-L) and nc work everywhere")
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        what = f"{missing[0]}, which is" if len(missing) == 1 else f"{' and '.join(missing)}, which are"
        return UsageError(f"transparent mode needs {what} not installed", hint="pip install 'hyperion[tun]'")
    if not held(frozenset({Capability.NET_ADMIN})):
        return RefusedError(
            "transparent mode needs CAP_NET_ADMIN", hint="start it as root, or with AmbientCapabilities=CAP_NET_ADMIN"
        )
    return None
