"""What is needed to knock at a server, out of what the file says of the gate and of that server."""

from hyperion.config.settings import KnockSettings, ServerEntry
from hyperion.proto.control import KnockOrder
from hyperion.proto.knock import derive_knock_key


def knock_order(server: ServerEntry, settings: KnockSettings) -> KnockOrder | None:
    """The key and the UDP port for the knocks at ``server``; None if the client does not knock."""
    if not settings.enabled:
        return None
    return KnockOrder(derive_knock_key(server.psk.raw), settings.port or server.endpoint.port)
