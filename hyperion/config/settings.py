"""What the rest of the program is given: configuration that has been checked, with its secrets resolved.

Plain values, no logic. Times are in seconds. Secrets are ``PrivateKey`` and ``Psk``, which do not show themselves.
Equality is by value, so a reload can tell what changed.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

from hyperion.config.endpoint import Endpoint
from hyperion.proto.keys import PrivateKey, Psk, PublicKey


@dataclass(frozen=True, slots=True)
class KnockSettings:
    """The gate. ``port``: UDP port of the knock; ``None`` (client only) = the port of each server's address.

    ``window``: how far a knock's clock may be off, seconds (server only).
    """

    enabled: bool
    port: int | None
    window: int


@dataclass(frozen=True, slots=True)
class FirewallSettings:
    """Names of the nftables table and set, and how long a source stays admitted, seconds.

    ``one_shot``: the first connection uses an admission up. ``close_behind``: it ends soon after the sessions that it
    was for have begun.
    """

    table: str
    set_name: str
    ttl: int
    one_shot: bool = False
    close_behind: bool = False


@dataclass(frozen=True, slots=True)
class Admin:
    """Who may come in: a name for people, the key, the ports of the server's own loopback that this admin may reach,
    and when that ends, Unix seconds; ``None``: it does not."""

    name: str
    key: PublicKey
    allow: frozenset[int]
    expires: float | None = None


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """All that ``hyperion-server`` needs to know. ``egress``: what admins may reach who have no list of their own."""

    path: Path
    listen: Endpoint
    psk: Psk
    identity: PrivateKey
    admins: tuple[Admin, ...]
    egress: frozenset[int]
    handshake_timeout: float
    knock: KnockSettings
    firewall: FirewallSettings


@dataclass(frozen=True, slots=True)
class TunSettings:
    """The TUN device of transparent mode: its address, the length of its subnet's prefix, its MTU in bytes."""

    address: IPv4Address
    prefix: int
    mtu: int


@dataclass(frozen=True, slots=True)
class ServerEntry:
    """One server of the client's list. ``virtual_ip``: its fake address, whether the file names it or not."""

    name: str
    endpoint: Endpoint
    public_key: PublicKey
    psk: Psk
    pool_size: int
    virtual_ip: IPv4Address


@dataclass(frozen=True, slots=True)
class ForwardEntry:
    """One local listener (port 0 = any free one) that leads to a port of the server called ``server``."""

    local: Endpoint
    server: str
    remote_port: int


@dataclass(frozen=True, slots=True)
class SocksEntry:
    """One SOCKS listener (port 0 = any free one)."""

    listen: Endpoint


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """All that ``hyperion-client`` needs to know."""

    path: Path
    identity: PrivateKey
    servers: tuple[ServerEntry, ...]
    forwards: tuple[ForwardEntry, ...]
    knock: KnockSettings
    tun: TunSettings
    socks: tuple[SocksEntry, ...] = ()
