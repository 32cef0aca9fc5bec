"""What the client's file says without its secrets: servers, their addresses, forwards, the device.

Enough for everything that shows or edits the file: no key file is opened, no variable read, nobody asked.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from hyperion.config.complaint import KeyPath, quoted, wrong
from hyperion.config.endpoint import Endpoint
from hyperion.config.fake_ip import NoFreeAddress, assign
from hyperion.config.name import NAME_RULE, is_name
from hyperion.config.schema import ClientFile, ServerSection
from hyperion.config.settings import ForwardEntry, KnockSettings, SocksEntry, TunSettings
from hyperion.config.socks import socks_of_file
from hyperion.config.values import endpoint, public_key_of_value
from hyperion.proto.keys import PublicKey
from hyperion.rendezvous import fold


@dataclass(frozen=True, slots=True)
class ServerOutline:
    """One server of the list, without its PSK."""

    name: str
    endpoint: Endpoint
    public_key: PublicKey
    pool_size: int
    virtual_ip: IPv4Address


@dataclass(frozen=True, slots=True)
class ClientOutline:
    """All that is no secret."""

    path: Path
    servers: tuple[ServerOutline, ...]
    forwards: tuple[ForwardEntry, ...]
    knock: KnockSettings
    tun: TunSettings
    socks: tuple[SocksEntry, ...] = ()


def outline_client(path: Path, raw: ClientFile) -> ClientOutline:
    """What the values mean together. Raises ``ConfigError``."""
    _check_names(path, [section.name for section in raw.server])
    endpoints = [endpoint(path, ("server", place, "addr"), section.addr) for place, section in enumerate(raw.server)]
    public_keys = [
        public_key_of_value(path, ("server", place, "server_pubkey"), section.server_pubkey)
        for place, section in enumerate(raw.server)
    ]
    tun = TunSettings(_ipv4(path, ("tun", "addr"), raw.tun.addr), raw.tun.prefix, raw.tun.mtu)
    virtual_ips = _virtual_ips(path, raw.server, tun)
    forwards = _forwards(path, raw)
    servers = (
        ServerOutline(section.name, where, public_key, section.pool_size or raw.pool_size, virtual_ip)
        for section, where, public_key, virtual_ip in zip(raw.server, endpoints, public_keys, virtual_ips, strict=True)
    )
    knock = KnockSettings(raw.knock.enabled, raw.knock.port, window=0)
    socks = socks_of_file(path, raw.socks, [forward.local for forward in forwards])
    return ClientOutline(path, tuple(servers), forwards, knock, tun, socks)


def _check_names(path: Path, names: list[str]) -> None:
    """Two spellings of one name are one: ``nc``, SOCKS and the hosts file take a name in any case, with ``.hyperion``
    or without."""
    taken: dict[str, str] = {}
    for place, name in enumerate(names):
        key: KeyPath = ("server", place, "name")
        if not is_name(name):
            raise wrong(path, key, NAME_RULE, quoted(name))
        if (other := taken.get(fold(name))) is not None:
            got = f"{quoted(name)} a second time" if other == name else f"{quoted(name)}, which is also {quoted(other)}"
            raise wrong(path, key, "a name of its own", got)
        taken[fold(name)] = name


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
        if any(local.collides(other.local) for other in forwards):
            raise wrong(path, ("forward", place, "local"), "an address of its own", f"{local} a second time")
        forwards.append(ForwardEntry(local, section.server, section.remote_port))
    return tuple(forwards)
