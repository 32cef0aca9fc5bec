"""A server of the configuration as a connector knows it: for commands that make a tunnel of their own.

Not in ``connector``: workers are told their target by the supervisor, and need not carry what reads configurations.
"""

from hyperion.config import KnockSettings, ServerEntry
from hyperion.config.knock import knock_order
from hyperion.proto.keys import PrivateKey
from hyperion.worker.connector import Target


def target_of(entry: ServerEntry, identity: PrivateKey, knock: KnockSettings) -> Target:
    """How to reach ``entry`` as the admin with the key ``identity``, with a knock if ``knock`` says so."""
    endpoint, keys = entry.endpoint, (entry.public_key.raw, identity.raw, entry.psk.raw)
    return Target(entry.name, endpoint.host, endpoint.port, *keys, knock=knock_order(entry, knock))
