"""``add-server`` and ``rm-server``: one entry more or less in the client's file, everything else as it was.

The file is locked, read, edited as text, written beside its place, read back, compared with what it should say, and
only then put in place.
"""

import contextlib
import ipaddress
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hyperion.cli import units
from hyperion.cli.diff import diff
from hyperion.cli.editing import editing, put, runs, text_of
from hyperion.cli.loading import client_path
from hyperion.cli.output import say
from hyperion.config.edit import add_section, remove_sections
from hyperion.config.endpoint import Endpoint
from hyperion.config.fake_ip import next_free
from hyperion.config.forward import require_name
from hyperion.config.name import NAME_RULE, is_name
from hyperion.config.outline import ClientOutline, ServerOutline, outline_client
from hyperion.config.safe_file import Original
from hyperion.config.schema import ClientFile
from hyperion.config.toml_file import parse
from hyperion.errors import BadKeyError, ConfigError, UsageError
from hyperion.proto.keys import KeyFormatError, PublicKey
from hyperion.rendezvous import fold

ADD_SCHEMA = "hyperion.add-server/1"
REMOVE_SCHEMA = "hyperion.rm-server/1"

#: Where a server listens if nothing else is said.
DEFAULT_PORT = 8443


class AddDocument(msgspec.Struct, kw_only=True):
    """What ``add-server --json`` prints. ``running``: a client runs that a reload would tell of it."""

    schema: str = ADD_SCHEMA
    name: str
    addr: str
    server_pubkey: str
    virtual_ip: str
    config: str
    running: bool


class RemoveDocument(msgspec.Struct, kw_only=True):
    """What ``rm-server --json`` prints."""

    schema: str = REMOVE_SCHEMA
    name: str
    forwards: int
    config: str
    running: bool


def run_add(config_file: Path | None, name: str, addr: str, pubkey: str, *, dry_run: bool, as_json: bool) -> int:
    """Adds a server with the next free fake address. Raises ``UsageError``, ``BadKeyError``, what reading raises, and
    ``CannotCreateError``; then the file is as it was."""
    if not is_name(name):
        raise UsageError(f"NAME: expected {NAME_RULE}", hint="like web1")
    endpoint, public = parse_address(addr), _parse_key(pubkey)
    with _editing(client_path(config_file)) as (original, outline):
        # In any case, and with .hyperion behind it, a name means one server (hyperion.rendezvous).
        there = next((server.name for server in outline.servers if fold(server.name) == fold(name)), None)
        if there is not None:
            raise UsageError(f"there is a server {there} already", hint=f"hyperion-client rm-server {there} removes it")
        virtual_ip = next_free(outline.tun, [server.virtual_ip for server in outline.servers])
        if virtual_ip is None:
            raise ConfigError(
                f"{outline.path}: no free virtual IP left in the tun subnet", hint="make [tun] prefix smaller, like 16"
            )
        new = {"name": name, "addr": str(endpoint), "server_pubkey": str(public), "virtual_ip": str(virtual_ip)}
        text = add_section(text_of(original), "server", new)
        if dry_run:
            say(diff(outline.path, text_of(original), text))
            return 0
        pool_size = parse(outline.path, original.content, ClientFile).pool_size
        entry = ServerOutline(name, endpoint, public, pool_size, virtual_ip)
        _write(original, text, outline, (*outline.servers, entry))
    known = runs("client", config_file)
    if as_json:
        document = AddDocument(**new, config=str(outline.path), running=known)
        say(msgspec.json.encode(document).decode())
        return 0
    say(f"added server {name} ({endpoint}) as {virtual_ip}")
    say("next: hyperion-client reload" if known else "next: sudo hyperion-client up")
    say(f"then: ssh user@{virtual_ip}")
    say(f"      (without root: hyperion-client ssh-config --write, then ssh {name})")
    return 0


def run_remove(config_file: Path | None, name: str, *, with_forwards: bool, dry_run: bool, as_json: bool) -> int:
    """Removes a server. Raises ``UsageError`` if there is none, or forwards lead to it that may not go; else as
    ``run_add``."""
    with _editing(client_path(config_file)) as (original, outline):
        require_name([server.name for server in outline.servers], name, outline.path)
        forwards = [forward for forward in outline.forwards if forward.server == name]
        if forwards and not with_forwards:
            where = ", ".join(str(forward.local) for forward in forwards)
            raise UsageError(f"forwards lead to {name}: {where}", hint="--forwards removes them as well")
        text = remove_sections(remove_sections(text_of(original), "forward", "server", name), "server", "name", name)
        if dry_run:
            say(diff(outline.path, text_of(original), text))
            return 0
        _write(original, text, outline, tuple(server for server in outline.servers if server.name != name))
    known = runs("client", config_file)
    if as_json:
        document = RemoveDocument(name=name, forwards=len(forwards), config=str(outline.path), running=known)
        say(msgspec.json.encode(document).decode())
        return 0
    also = f" and {units.count(len(forwards), 'forward')}" if forwards else ""
    say(f"removed server {name}{also}")
    if known:
        say("next: hyperion-client reload")
    return 0


def parse_address(text: str) -> Endpoint:
    """From ``HOST``, ``HOST:PORT``, ``[IPV6]:PORT``, or an IPv6 address alone; 8443 without a port. Raises
    ``UsageError``."""
    try:
        with contextlib.suppress(ValueError):
            inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
            return Endpoint.parse(f"[{ipaddress.IPv6Address(inner)}]:{DEFAULT_PORT}")
        return Endpoint.parse(text if ":" in text else f"{text}:{DEFAULT_PORT}")
    except ValueError as error:
        raise UsageError(
            f"HOST: expected HOST, HOST:PORT or [IPV6]:PORT: {error}", hint="like 203.0.113.10:8443"
        ) from None


def _parse_key(text: str) -> PublicKey:
    try:
        return PublicKey.parse(text)
    except KeyFormatError as error:
        raise BadKeyError(
            f"PUBKEY: {error}", hint="it is what hyperion-server init printed: 44 characters, the last one ="
        ) from None


@contextlib.contextmanager
def _editing(path: Path) -> Iterator[tuple[Original, ClientOutline]]:
    """The file, locked, and what it says."""
    with editing(path, "client") as original:
        yield original, outline_client(path, parse(path, original.content, ClientFile))


def _write(original: Original, text: str, before: ClientOutline, servers: tuple[ServerOutline, ...]) -> None:
    """Puts ``text`` in place if it says the same as ``before``, but with these servers. Servers without an address of
    their own in the file may get another one, if one before them went."""
    names = {server.name for server in servers}
    forwards = tuple(forward for forward in before.forwards if forward.server in names)

    rest = forwards, before.socks, before.knock, before.tun

    def says(content: bytes) -> bool:
        found = outline_client(before.path, parse(before.path, content, ClientFile))
        told = [(server.name, server.endpoint, server.public_key, server.pool_size) for server in found.servers]
        wanted = [(server.name, server.endpoint, server.public_key, server.pool_size) for server in servers]
        return told == wanted and (found.forwards, found.socks, found.knock, found.tun) == rest

    put(before.path, original, text, says)
