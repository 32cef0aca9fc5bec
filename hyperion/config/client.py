"""The client's configuration: what the values of ``hyperion.toml`` mean together.

Order, so that the cheapest fault is found first and nobody is asked for a passphrase in vain: names and addresses,
PSKs, own key.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address
from pathlib import Path

from hyperion.config.complaint import KeyPath, quoted, wrong
from hyperion.config.endpoint import Endpoint
from hyperion.config.fake_ip import NoFreeAddress, assign
from hyperion.config.key_source import (
    identity_of_file,
    psk_of_section,
    psk_of_value,
    psk_of_variable,
    public_key_of_value,
)
from hyperion.config.name import NAME_RULE, is_name
from hyperion.config.schema import ClientFile, ServerSection
from hyperion.config.secrets import Secrets
from hyperion.config.server import endpoint
from hyperion.config.settings import ClientConfig, ForwardEntry, KnockSettings, ServerEntry, TunSettings
from hyperion.config.toml_file import read
from hyperion.proto.keys import Psk

QUESTION = "hyperion shared passphrase: "


def load_client(path: Path, secrets: Secrets) -> ClientConfig:
    """Reads and resolves. Raises ``ConfigMissingError``, ``ConfigError``, ``BadKeyError``."""
    return resolve_client(path, read_client(path), secrets)


def read_client(path: Path) -> ClientFile:
    """The file as it is written, each value checked by itself. Raises ``ConfigMissingError``, ``ConfigError``."""
    return read(path, ClientFile)


def resolve_client(path: Path, raw: ClientFile, secrets: Secrets) -> ClientConfig:
    """What the file means, with secrets fetched. Raises ``ConfigError``, ``BadKeyError``."""
    _check_names(path, [section.name for section in raw.server])
    endpoints = [endpoint(path, ("server", place, "addr"), section.addr) for place, section in enumerate(raw.server)]
    public_keys = [
        public_key_of_value(path, ("server", place, "server_pubkey"), section.server_pubkey)
        for place, section in enumerate(raw.server)
    ]
    tun = TunSettings(_ipv4(path, ("tun", "addr"), raw.tun.addr), raw.tun.prefix, raw.tun.mtu)
    virtual_ips = _virtual_ips(path, raw.server, tun)
    forwards = _forwards(path, raw)
    psks = _psks(path, raw, secrets)
    identity = identity_of_file(path, ("admin_static_key_file",), raw.admin_static_key_file)
    servers = (
        ServerEntry(section.name, where, public_key, psk, section.pool_size or raw.pool_size, virtual_ip)
        for section, where, public_key, psk, virtual_ip in zip(
            raw.server, endpoints, public_keys, psks, virtual_ips, strict=True
        )
    )
    knock = KnockSettings(raw.knock.enabled, raw.knock.port, window=0)
    return ClientConfig(path, identity, tuple(servers), forwards, knock, tun)


def _check_names(path: Path, names: list[str]) -> None:
    for place, name in enumerate(names):
        key: KeyPath = ("server", place, "name")
        if not is_name(name):
            raise wrong(path, key, NAME_RULE, quoted(name))
        if name in names[:place]:
            raise wrong(path, key, "a name of its own", f"{quoted(name)} a second time")


def _ipv4(path: Path, key: KeyPath, text: str) -> IPv4Address:
    try:
        return IPv4Address(text)
    except ValueError:
        raise wrong(path, key, "an IPv4 address", quoted(text)) from None


def _virtual_ips(path: Path, sections: list[ServerSection], tun: TunSettings) -> list[IPv4Address]:
    """The fake addresses: those that the file asks for, and for the other servers what the original would give them."""
    taken = {tun.address}
    wanted: list[IPv4Address | None] = []
    for place, section in enumerate(sections):
        if section.virtual_ip is None:
            wanted.append(None)
            continue
        key: KeyPath = ("server", place, "virtual_ip")
        address = _ipv4(path, key, section.virtual_ip)
        if address in taken:
            raise wrong(path, key, "an address of its own", f"{address}, which is taken")
        taken.add(address)
        wanted.append(address)
    try:
        return assign(tun, wanted)
    except NoFreeAddress as error:
        key = ("server", error.place, "virtual_ip")
        got = f"nothing, and no address is left in {tun.address}/{tun.prefix}"
        raise wrong(path, key, "an address", got, hint="make [tun] prefix smaller, like 16") from None


def _forwards(path: Path, raw: ClientFile) -> tuple[ForwardEntry, ...]:
    names = {section.name for section in raw.server}
    forwards: list[ForwardEntry] = []
    for place, section in enumerate(raw.forward):
        if section.server not in names:
            raise wrong(path, ("forward", place, "server"), "the name of a [[server]]", quoted(section.server))
        local = endpoint(path, ("forward", place, "local"), section.local, lowest_port=0)
        if is_taken(local, forwards):
            raise wrong(path, ("forward", place, "local"), "an address of its own", f"{local} a second time")
        forwards.append(ForwardEntry(local, section.server, section.remote_port))
    return tuple(forwards)


def is_taken(local: Endpoint, forwards: Iterable[ForwardEntry]) -> bool:
    """Whether a forward listens there already. Port 0 never collides."""
    return local.port != 0 and any(
        local.port == other.local.port and local.host.lower() == other.local.host.lower() for other in forwards
    )


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
