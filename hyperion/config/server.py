"""The server's configuration: what the values of ``server.toml`` mean together.

Order, so that the cheapest fault is found first and nobody is asked for a passphrase in vain: addresses, PSK, own key,
admins.
"""

from pathlib import Path

from hyperion.config.admins import require_admin, resolve_admins
from hyperion.config.complaint import KeyPath, quoted, wrong
from hyperion.config.endpoint import Endpoint
from hyperion.config.key_source import identity_of_file, psk_of_section
from hyperion.config.schema import ServerFile
from hyperion.config.secrets import Secrets
from hyperion.config.settings import FirewallSettings, KnockSettings, ServerConfig
from hyperion.config.toml_file import read

QUESTION = "hyperion server passphrase: "


def load_server(path: Path, secrets: Secrets) -> ServerConfig:
    """Reads and resolves. Raises ``ConfigMissingError``, ``ConfigError``, ``BadKeyError``."""
    return resolve_server(path, read_server(path), secrets)


def read_server(path: Path) -> ServerFile:
    """The file as it is written, each value checked by itself. Raises ``ConfigMissingError``, ``ConfigError``."""
    return read(path, ServerFile)


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


def endpoint(path: Path, key: KeyPath, text: str, *, lowest_port: int = 1) -> Endpoint:
    """An address written in the configuration."""
    try:
        return Endpoint.parse(text, lowest_port=lowest_port)
    except ValueError as error:
        raise wrong(path, key, "HOST:PORT or [IPV6]:PORT", f"{quoted(text)} ({error})") from None
