"""``hyperion-server init``: the first configuration and key of a server, and what to do next, on both machines."""

import datetime
import secrets
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hyperion.cli.first_files import NewFile, put, refuse_existing
from hyperion.cli.output import say, shown
from hyperion.cli.own_address import guess_address, guess_name, is_public
from hyperion.config.endpoint import MAX_PORT, Endpoint
from hyperion.config.name import NAME_RULE, is_name
from hyperion.config.template import server_file
from hyperion.config.values import is_placeholder
from hyperion.errors import BadKeyError, UsageError
from hyperion.paths import SERVER_CONFIG_NAME, absolute, config_directory
from hyperion.privileges import disable_core_dumps
from hyperion.proto.keys import KEY_LENGTH, MIN_SALT_BYTES, KeyFormatError, PrivateKey, PublicKey

SCHEMA = "hyperion.server-init/1"
KEY_NAME = "server.key"

_KEY_HINT = "it is what hyperion-client init or keygen printed: 44 characters, the last one ="

#: Seconds that the trial of the firewall waits for somebody who gets in: enough for what the admin has to type.
TRIAL_SECONDS = 90


class InitDocument(msgspec.Struct, kw_only=True):
    """What ``--json`` prints. ``next``: commands for this machine and for the admin's; ``kept``: new names of files
    that ``--force`` replaced."""

    schema: str
    config: str
    key_file: str
    public_key: str
    fingerprint: str
    listen: str
    allow: list[int]
    kept: list[str]
    next_here: list[str]
    next_client: str


@dataclass(frozen=True, slots=True)
class Order:
    """What the caller wants, as it was typed."""

    salt: str
    admin_key: str
    admin_name: str | None
    allow: str
    listen: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The same, checked."""

    salt: str
    admin: PublicKey
    admin_name: str | None
    allow: list[int]
    listen: Endpoint

    def text(self, key_file: Path) -> str:
        """Of ``server.toml``."""
        return server_file(self.listen, self.salt, key_file, self.admin, self.admin_name, self.allow)


def run_init(order: Order, *, force: bool, dry_run: bool, as_json: bool) -> int:
    """Writes ``server.toml`` and ``server.key`` into the configuration directory. Raises ``UsageError``,
    ``BadKeyError`` and ``CannotCreateError``; then nothing was written."""
    disable_core_dumps()
    plan = check(order)
    directory = absolute(config_directory())
    config, key_file = directory / SERVER_CONFIG_NAME, directory / KEY_NAME
    if not force:
        refuse_existing((config, key_file), "--force starts over with a new key, and keeps the old files")
    text = plan.text(key_file)
    if dry_run:
        say(f"would write {key_file}: a new secret key\nwould write {config}:\n\n{text}")
        return 0
    key = PrivateKey.from_entropy(secrets.token_bytes(KEY_LENGTH))
    files = NewFile(key_file, key.format() + "\n"), NewFile(config, text)
    kept = put(files, replace=force, now=datetime.datetime.now(datetime.UTC))
    document = _document(plan, config, key_file, key.public(), kept)
    say(msgspec.json.encode(document).decode() if as_json else _text(document))
    return 0


def check(order: Order) -> Plan:
    """Raises ``UsageError`` and ``BadKeyError``."""
    if len(order.salt.encode("utf-8", "surrogateescape")) < MIN_SALT_BYTES or is_placeholder(order.salt):
        raise UsageError(f"--salt: expected at least {MIN_SALT_BYTES} bytes", hint="hyperion-client init prints one")
    if not order.salt.isprintable():
        raise UsageError("--salt: expected printable characters", hint="hyperion-client init prints one")
    try:
        admin = PublicKey.parse(order.admin_key)
    except KeyFormatError as error:
        raise BadKeyError(f"--admin-key: {error}", hint=_KEY_HINT) from None
    if order.admin_name is not None and not is_name(order.admin_name):
        raise UsageError(f"--admin-name: expected {NAME_RULE}", hint="like alice")
    try:
        listen = Endpoint.parse(order.listen)
    except ValueError as error:
        raise UsageError(f"--listen: expected ADDRESS:PORT: {error}", hint="like 0.0.0.0:8443 or [::]:8443") from None
    return Plan(order.salt, admin, order.admin_name, parse_ports(order.allow), listen)


def parse_ports(text: str) -> list[int]:
    """From ``22,5432``; nothing means no port. Raises ``UsageError``."""
    ports: list[int] = []
    for part in (piece.strip() for piece in text.split(",")) if text.strip() else ():
        if not (part.isascii() and part.isdecimal() and len(part) <= 5 and 1 <= int(part) <= MAX_PORT):
            raise UsageError(f"--allow: {part or 'nothing'} is not a port from 1 to {MAX_PORT}", hint="like 22,5432")
        ports.append(int(part))
    return list(dict.fromkeys(ports))


def _document(plan: Plan, config: Path, key_file: Path, public: PublicKey, kept: Sequence[Path]) -> InitDocument:
    where = guess_address(plan.listen)
    name = guess_name(socket.gethostname())
    return InitDocument(
        schema=SCHEMA,
        config=shown(config),
        key_file=shown(key_file),
        public_key=str(public),
        fingerprint=public.fingerprint,
        listen=str(plan.listen),
        allow=plan.allow,
        kept=[shown(path) for path in kept],
        next_here=[
            "sudo hyperion-server up",
            f"sudo hyperion-server apply-firewall --confirm-within {TRIAL_SECONDS}",
        ],
        next_client=shlex.join(["hyperion-client", "add-server", name, str(where), str(public)]),
    )


def _text(document: InitDocument) -> str:
    lines = ["hyperion-server initialized.", f"config: {document.config}"]
    lines += [f"kept:   {path}" for path in document.kept]
    lines += ["", "server public key:", f"    {document.public_key}"]
    if not document.allow:
        lines += ["", "note: nobody reaches any port yet; list them in [egress] allow"]
    lines += ["", "next, here:"]
    lines += [f"    {command}" for command in document.next_here]
    lines += ["    (drops all other inbound traffic, and puts back what was there unless"]
    lines += [f"    somebody gets in within {TRIAL_SECONDS} s; --keep-port 22 leaves ssh open to all)"]
    lines += ["next, on the admin's machine, while the server waits for that:", f"    {document.next_client}"]
    address = shlex.split(document.next_client)[3]
    if not is_public(Endpoint.parse(address).host):
        lines.append(f"    ({address} is what this machine knows of itself;")
        lines.append("    use the address that the admin reaches it by)")
    port = Endpoint.parse(document.listen).port
    lines += ["", "where nobody can be locked out, at the console, the same rules without a trial:"]
    lines += [f"    hyperion-server print-firewall --tunnel-port {port} | sudo nft -f -"]
    return "\n".join(lines)
