"""Some servers of a configuration instead of all: ``--only web1,db3``.

Knows names. What goes with a server, its forwards, goes with it.
"""

from collections.abc import Sequence
from dataclasses import replace

from hyperion.config.forward import require_server
from hyperion.config.settings import ClientConfig


def only_servers(config: ClientConfig, names: Sequence[str]) -> ClientConfig:
    """``config`` with just these servers, in its own order; all of them if no name is given.

    Raises ``UsageError`` for a server that is not there.
    """
    for name in names:
        require_server(config, name)
    if not names:
        return config
    return replace(
        config,
        servers=tuple(server for server in config.servers if server.name in names),
        forwards=tuple(forward for forward in config.forwards if forward.server in names),
    )
