"""The two files as they are written: every key, its type, its range, its default.

These structs mirror the original's configuration, so its files work unchanged; a key that is not here is an error.
Only single values are judged here. What values mean together, and where secrets come from, is the business of
``hyperion.config.server`` and ``hyperion.config.client``.

A ``description`` is what an error message says after "expected".
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from hyperion.config.endpoint import MAX_PORT

#: Connections to one server. More than 64 helps no link and is most likely a slip.
MAX_POOL_SIZE = 64

#: A clock that is off by an hour is broken, and a wider window is a longer life for a captured knock. Seconds.
MAX_WINDOW_SECONDS = 3_600

#: A day: an admission that lasts longer is a hole, not a knock. Seconds.
MAX_TTL_SECONDS = 86_400

#: Ten minutes: a deadline that does not end is none. Milliseconds.
MAX_HANDSHAKE_TIMEOUT_MS = 600_000

#: Every IPv4 link carries 68 bytes (RFC 791); below 1,280 the device has no IPv6. Bytes.
MIN_MTU = 68

Port = Annotated[int, Meta(ge=1, le=MAX_PORT, description=f"a port from 1 to {MAX_PORT}")]
PoolSize = Annotated[int, Meta(ge=1, le=MAX_POOL_SIZE, description=f"a number from 1 to {MAX_POOL_SIZE}")]
Window = Annotated[int, Meta(ge=1, le=MAX_WINDOW_SECONDS, description=f"seconds from 1 to {MAX_WINDOW_SECONDS}")]
Ttl = Annotated[int, Meta(ge=1, le=MAX_TTL_SECONDS, description=f"seconds from 1 to {MAX_TTL_SECONDS}")]
Timeout = Annotated[
    int, Meta(ge=1, le=MAX_HANDSHAKE_TIMEOUT_MS, description=f"milliseconds from 1 to {MAX_HANDSHAKE_TIMEOUT_MS}")
]
Prefix = Annotated[int, Meta(ge=1, le=30, description="a prefix length from 1 to 30")]
Mtu = Annotated[int, Meta(ge=MIN_MTU, le=65_535, description=f"bytes from {MIN_MTU} to 65535")]
#: No nftables identifier needs more, and nothing else can be said in the nft language through it.
Identifier = Annotated[
    str,
    Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]{0,30}\Z", description="a letter or _, then up to 30 letters, digits or _"),
]
Address = Annotated[str, Meta(description="HOST:PORT or [IPV6]:PORT")]
KeyText = Annotated[str, Meta(description="a key of 32 bytes in base64")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file. An unknown key in it is an error."""


class KeySection(Section, frozen=True):
    """``[key]``: where the PSK comes from. Which of the others is needed depends on ``source``."""

    source: Literal["passphrase", "env", "file", "value"]
    file: str | None = None
    env_var: str | None = None
    value: KeyText | None = None
    passphrase_env: str | None = None
    salt: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(hidden)"


class IdentitySection(Section, frozen=True):
    """``[identity]``: the server's own key, and who may come in."""

    static_key_file: Annotated[str, Meta(description="a file name")]
    admin_pubkeys: list[KeyText] = []


class AdminSection(Section, frozen=True):
    """One ``[[admin]]``: who may come in, under which name, where to, and until when.

    Without ``allow`` it is the list of ``[egress]``. ``expires`` may be any of TOML's dates: judged in
    ``hyperion.config.admins``.
    """

    name: Annotated[str, Meta(description="a name")]
    pubkey: KeyText
    allow: list[Port] | None = None
    expires: Annotated[Any, Meta(description="a date, or a date and a time")] = None


class EgressSection(Section, frozen=True):
    """``[egress]``: the local ports that admins may reach; none unless named."""

    allow: list[Port] = []


class LimitsSection(Section, frozen=True):
    """``[limits]``."""

    handshake_timeout_ms: Timeout = 3_000


class ServerKnockSection(Section, frozen=True):
    """``[knock]`` of the server; ``knock_port`` defaults to the port of ``listen``."""

    enabled: bool = False
    knock_port: Port | None = None
    window_secs: Window = 30


class FirewallSection(Section, frozen=True):
    """``[firewall]``: where knocks open the port."""

    table: Identifier = "hyperion"
    set: Identifier = "knock_allow"
    ttl_secs: Ttl = 60
    one_shot: bool = False
    close_behind: bool = False


class ServerFile(Section, frozen=True):
    """``server.toml``."""

    listen: Address
    key: KeySection
    identity: IdentitySection
    admin: list[AdminSection] = []
    egress: EgressSection = EgressSection()
    limits: LimitsSection = LimitsSection()
    knock: ServerKnockSection = ServerKnockSection()
    firewall: FirewallSection = FirewallSection()


class ClientKnockSection(Section, frozen=True):
    """``[knock]`` of the client; ``port`` defaults to the port of each server's address."""

    enabled: bool = False
    port: Port | None = None


class TunSection(Section, frozen=True):
    """``[tun]``: the device of transparent mode."""

    addr: Annotated[str, Meta(description="an IPv4 address")] = "10.99.0.1"
    prefix: Prefix = 24
    #: The device leads to this machine only, where the largest packets are the fastest. The original, which sent each
    #: of them through a TCP stack of its own, has 1,420.
    mtu: Mtu = 65_535


class ServerSection(Section, frozen=True):
    """One ``[[server]]``."""

    name: Annotated[str, Meta(description="a name")]
    addr: Address
    server_pubkey: KeyText
    virtual_ip: str | None = None
    key_env: str | None = None
    key_value: KeyText | None = None
    pool_size: PoolSize | None = None

    def __repr__(self) -> str:
        return f"ServerSection(name={self.name!r}, addr={self.addr!r})"


class ForwardSection(Section, frozen=True):
    """One ``[[forward]]``; port 0 in ``local`` = any free one."""

    local: Address
    server: Annotated[str, Meta(description="the name of a server")]
    remote_port: Port


class SocksSection(Section, frozen=True):
    """One ``[[socks]]``; port 0 = any free one. ``gateway_ports``: it may listen where other hosts reach it."""

    listen: Address
    gateway_ports: bool = False


class ClientFile(Section, frozen=True):
    """``hyperion.toml``."""

    admin_static_key_file: Annotated[str, Meta(description="a file name")]
    pool_size: PoolSize = 2
    key: KeySection | None = None
    knock: ClientKnockSection = ClientKnockSection()
    tun: TunSection = TunSection()
    server: list[ServerSection] = []
    forward: list[ForwardSection] = []
    socks: list[SocksSection] = []
