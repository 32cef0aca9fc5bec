"""The client's configuration: what its file says (``outline``), with the secrets that it leads to.

Order, so that the cheapest fault is found first and nobody is asked for a passphrase in vain: names and addresses,
PSKs, own key.
"""

from pathlib import Path

from hyperion.config.complaint import wrong
from hyperion.config.key_source import identity_of_file, psk_of_section, psk_of_value, psk_of_variable
from hyperion.config.outline import outline_client
from hyperion.config.reading import read_client
from hyperion.config.schema import ClientFile
from hyperion.config.secrets import Secrets
from hyperion.config.settings import ClientConfig, ServerEntry
from hyperion.proto.keys import Psk

QUESTION = "hyperion shared passphrase: "


def load_client(path: Path, secrets: Secrets) -> ClientConfig:
    """Reads and resolves. Raises ``ConfigMissingError``, ``ConfigError``, ``BadKeyError``."""
    return resolve_client(path, read_client(path), secrets)


def resolve_client(path: Path, raw: ClientFile, secrets: Secrets) -> ClientConfig:
    """What the file means, with secrets fetched. Raises ``ConfigError``, ``BadKeyError``."""
    outline = outline_client(path, raw)
    psks = _psks(path, raw, secrets)
    identity = identity_of_file(path, ("admin_static_key_file",), raw.admin_static_key_file)
    servers = (
        ServerEntry(each.name, each.endpoint, each.public_key, psk, each.pool_size, each.virtual_ip)
        for each, psk in zip(outline.servers, psks, strict=True)
    )
    return ClientConfig(path, identity, tuple(servers), outline.forwards, outline.knock, outline.tun, outline.socks)


def _psks(path: Path, raw: ClientFile, secrets: Secrets) -> list[Psk]:
    """One for each server: its own variable, else its own value, else the one of ``[key]``."""
    shared: Psk | None = None
    result: list[Psk] = []
    for place, section in enumerate(raw.server):
        if section.key_env is not None:
            result.append(psk_of_variable(path, ("server", place, "key_env"), section.key_env, secrets))
        elif section.key_value is not None:
            result.append(psk_of_value(path, ("server", place, "key_value"), section.key_value))
        elif raw.key is not None:
            # Once, because a passphrase costs 30 ms; and only if a server needs it, so that nobody is asked in vain.
            shared = shared or psk_of_section(path, raw.key, secrets, QUESTION)
            result.append(shared)
        else:
            raise wrong(path, ("key",), "a section [key], or key_env or key_value in each [[server]]", "neither")
    return result
