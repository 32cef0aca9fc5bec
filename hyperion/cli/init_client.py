"""``hyperion-client init``: the first configuration, key and salt of an admin, and what to do next."""

import base64
import datetime
import secrets
import shlex
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from hyperion.cli.first_files import NewFile, put, refuse_existing
from hyperion.cli.output import say, shown
from hyperion.cli.own_address import guess_admin
from hyperion.config.template import client_file
from hyperion.paths import CLIENT_CONFIG_NAME, absolute, config_directory
from hyperion.privileges import disable_core_dumps
from hyperion.proto.keys import KEY_LENGTH, PrivateKey, PublicKey

SCHEMA = "hyperion.client-init/1"
KEY_NAME = "admin.key"

#: Characters of a salt, letters and digits: 130 bits, as the original makes them.
SALT_CHARS = 22


class InitDocument(msgspec.Struct, kw_only=True):
    """What ``--json`` prints. ``next_server``: the command for each server; ``kept``: new names of files that
    ``--force`` replaced."""

    schema: str
    config: str
    key_file: str
    public_key: str
    fingerprint: str
    salt: str
    kept: list[str]
    next_server: str
    next_here: list[str]


def run_init(*, force: bool, dry_run: bool, as_json: bool) -> int:
    """Writes ``hyperion.toml`` and ``admin.key`` into the configuration directory. Raises ``CannotCreateError``; then
    nothing was written."""
    disable_core_dumps()
    directory = absolute(config_directory())
    config, key_file = directory / CLIENT_CONFIG_NAME, directory / KEY_NAME
    if not force:
        hint = f"hyperion-client keygen -y {shlex.quote(str(key_file))} shows its public key; --force starts over"
        refuse_existing((config, key_file), hint)
    salt = make_salt(secrets.token_bytes)
    text = client_file(salt, key_file)
    if dry_run:
        say(f"would write {key_file}: a new secret key\nwould write {config}:\n\n{text}")
        return 0
    key = PrivateKey.from_entropy(secrets.token_bytes(KEY_LENGTH))
    files = NewFile(key_file, key.format() + "\n"), NewFile(config, text)
    kept = put(files, replace=force, now=datetime.datetime.now(datetime.UTC))
    document = _document(config, key_file, key.public(), salt, kept)
    say(msgspec.json.encode(document).decode() if as_json else _text(document))
    return 0


def make_salt(random_bytes: Callable[[int], bytes]) -> str:
    """22 letters and digits of the base64 of random bytes."""
    salt = ""
    while len(salt) < SALT_CHARS:
        salt += "".join(char for char in base64.b64encode(random_bytes(KEY_LENGTH)).decode("ascii") if char.isalnum())
    return salt[:SALT_CHARS]


def _document(config: Path, key_file: Path, public: PublicKey, salt: str, kept: Sequence[Path]) -> InitDocument:
    name = guess_admin(socket.gethostname())
    named = [] if name is None else ["--admin-name", name]
    order = ["hyperion-server", "init", "--salt", salt, "--admin-key", str(public), *named, "--allow", "22"]
    return InitDocument(
        schema=SCHEMA,
        config=shown(config),
        key_file=shown(key_file),
        public_key=str(public),
        fingerprint=public.fingerprint,
        salt=salt,
        kept=[shown(path) for path in kept],
        next_server=shlex.join(order),
        next_here=["hyperion-client add-server NAME HOST PUBKEY", "sudo hyperion-client up"],
    )


def _text(document: InitDocument) -> str:
    lines = ["hyperion initialized.", f"config: {document.config}"]
    lines += [f"kept:   {path}" for path in document.kept]
    lines += ["", "admin public key:", f"    {document.public_key}", "shared salt:", f"    {document.salt}"]
    lines += ["", "next, on each server (--allow: the ports you want to reach there):", f"    {document.next_server}"]
    add, up = document.next_here
    lines += ["next, here (each server prints its first line ready to paste):", f"    {add}", f"    {up}"]
    lines += ["    (without root: hyperion-client up, and for ssh NAME:", "    hyperion-client ssh-config --write)"]
    return "\n".join(lines)
