"""SOCKS listeners: ``[[socks]]`` and ``-D``. Who reaches one uses the tunnels as their owner does, without a question.

So one listens where only this machine reaches it, unless somebody says that more is meant, as with ssh's ``-g``: an
address like 0.0.0.0 is too easily copied from somewhere.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hyperion.config.complaint import KeyPath, wrong
from hyperion.config.endpoint import LOOPBACK, Endpoint
from hyperion.config.schema import SocksSection
from hyperion.config.settings import ClientConfig, SocksEntry
from hyperion.config.values import endpoint
from hyperion.errors import UsageError


def socks_of_file(
    path: Path, sections: Sequence[SocksSection], taken: Iterable[Endpoint] = ()
) -> tuple[SocksEntry, ...]:
    """What ``[[socks]]`` means; ``taken``: where others listen. Raises ``ConfigError``."""
    used = list(taken)
    entries: list[SocksEntry] = []
    for place, section in enumerate(sections):
        key: KeyPath = ("socks", place, "listen")
        entry = SocksEntry(endpoint(path, key, section.listen, lowest_port=0))
        if not section.gateway_ports and not is_loopback(entry.listen.host):
            hint = "other hosts could use your tunnels, and nobody asks them who they are: say gateway_ports = true"
            raise wrong(path, key, "a loopback address", str(entry.listen), hint=hint)
        if any(entry.listen.collides(other) for other in used):
            raise wrong(path, key, "an address of its own", f"{entry.listen} a second time")
        entries.append(entry)
        used.append(entry.listen)
    return tuple(entries)


def parse_socks(text: str, *, gateway_ports: bool = False) -> SocksEntry:
    """From ``PORT`` or ``ADDRESS:PORT``; port 0 is any free one. Raises ``UsageError``."""
    try:
        listen = Endpoint.parse(text if ":" in text else f"{LOOPBACK}:{text}", lowest_port=0)
    except ValueError as error:
        raise UsageError(f"-D {text}: {error}", hint="like -D 1080 or -D 127.0.0.1:1080") from None
    if not gateway_ports and not is_loopback(listen.host):
        raise UsageError(
            f"-D {text}: other hosts could use your tunnels, and nobody asks them who they are",
            hint="leave the address out, or add --gateway-ports if that is meant",
        )
    return SocksEntry(listen)


def add_socks(config: ClientConfig, extra: Sequence[SocksEntry]) -> ClientConfig:
    """``config`` with more listeners. Raises ``UsageError`` for an address used twice."""
    entries = list(config.socks)
    for entry in extra:
        if any(entry.listen.collides(other.listen) for other in entries):
            raise UsageError(f"-D: {entry.listen} is used twice", hint="once is enough")
        if any(entry.listen.collides(other.local) for other in config.forwards):
            raise UsageError(f"-D: a forward listens on {entry.listen}", hint="take another port")
        entries.append(entry)
    return replace(config, socks=tuple(entries))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address. Of names only ``localhost`` surely is one."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().removesuffix(".") == "localhost"
