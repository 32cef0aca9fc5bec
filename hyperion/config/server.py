"""The server's configuration: what the values of ``server.toml`` mean together.

Order, so that the cheapest fault is found first and nobody is asked for a passphrase in vain: addresses, PSK, own key,
admins.
"""

from pathlib import Path

from hyperion.config.admins import require_admin, resolve_admins
from hyperion.config.key_source import identity_of_file, psk_of_section
from hyperion.config.reading import read_server
from hyperion.config.schema import ServerFile
from hyperion.config.secrets import Secrets
from hyperion.config.settings import FirewallSettings, KnockSettings, ServerConfig
from hyperion.config.values import endpoint

QUESTION = "hyperion server passphrase: "


def load_server(path: Path, secrets: Secrets) -> ServerConfig:
    """Reads and resolves. Raises ``ConfigMissingError``, ``ConfigError``, ``BadKeyError``."""
    return resolve_server(path, read_server(path), secrets)


def resolve_server(path: Path, raw: ServerFile, secrets: Secrets) -> ServerConfig:
    """What the file means, with secrets fetched. Raises ``ConfigError``, ``BadKeyError``."""
    listen = endpoint(path, ("listen",), raw.listen)
    require_admin(path, raw)
    psk = psk_of_section(path, raw.key, secrets, QUESTION)
    identity = identity_of_file(path, ("identity", "static_key_file"), raw.identity.static_key_file)
    return ServerConfig(
        path=path,
        listen=listen,
        psk=psk,
        identity=identity,
        admins=resolve_admins(path, raw),
        egress=frozenset(raw.egress.allow),
        handshake_timeout=raw.limits.handshake_timeout_ms / 1000,
        knock=KnockSettings(raw.knock.enabled, raw.knock.knock_port or listen.port, raw.knock.window_secs),
        firewall=FirewallSettings(
            table=raw.firewall.table,
            set_name=raw.firewall.set,
            ttl=raw.firewall.ttl_secs,
            one_shot=raw.firewall.one_shot,
            close_behind=raw.firewall.close_behind,
        ),
    )
