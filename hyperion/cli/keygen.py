"""``keygen``: a new key pair, on standard output or with its private half in a file."""

import secrets
from pathlib import Path

import msgspec

from hyperion.cli.first_files import refuse_existing
from hyperion.cli.output import say, shown
from hyperion.config.keyfile import read_secret, write_secret
from hyperion.errors import BadKeyError, CannotCreateError, UsageError
from hyperion.paths import absolute, config_directory
from hyperion.privileges import disable_core_dumps
from hyperion.proto.keys import KEY_LENGTH, KeyFormatError, PrivateKey

SCHEMA = "hyperion.keygen/1"


class KeygenDocument(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What ``--json`` prints. The private key is in it only if it went to no file."""

    schema: str
    public_key: str
    fingerprint: str
    file: str | None = None
    private_key: str | None = None


def run_keygen(
    out: Path | None, *, force: bool, as_json: bool, public_of: Path | None = None, dry_run: bool = False
) -> int:
    """Prints the public key; the private one goes to ``out``, else it is printed too. Raises ``CannotCreateError``.

    With ``public_of`` nothing is made: prints the public key of the secret one in that file. Raises ``BadKeyError``,
    and ``UsageError`` if ``out`` is given as well.
    """
    disable_core_dumps()
    if public_of is not None:
        return _show_public(public_of, out, as_json=as_json)
    if out is not None:
        _refuse_no_directory(out)
    if dry_run:
        return _show_plan(out, force=force)
    key = PrivateKey.from_entropy(secrets.token_bytes(KEY_LENGTH))
    if out is not None:
        write_secret(out, key.format() + "\n", replace=force)
    say(_document(key, out) if as_json else _text(key, out))
    return 0


def _refuse_no_directory(out: Path) -> None:
    """A directory that is not there is a slip of the pen, unless it is the one that ``init`` would make, too."""
    directory = absolute(out).parent
    if not directory.is_dir() and directory != absolute(config_directory()):
        raise CannotCreateError(f"{out} cannot be written: there is no directory {directory}", hint="make it first")


def _show_plan(out: Path | None, *, force: bool) -> int:
    if out is None:
        say("would print a new key pair, and write nothing")
        return 0
    if not force:
        refuse_existing([out], "choose another name; --force replaces it, and the old key is lost")
    say(f"would write {out}: a new secret key")
    return 0


def _show_public(file: Path, out: Path | None, *, as_json: bool) -> int:
    if out is not None:
        raise UsageError("-y makes no key, so -o has nothing to write", hint="leave one of them out")
    try:
        public = PrivateKey.parse(read_secret(file)).public()
    except KeyFormatError as error:
        raise BadKeyError(f"key file {file}: {error}") from None
    document = KeygenDocument(schema=SCHEMA, public_key=str(public), fingerprint=public.fingerprint)
    say(msgspec.json.encode(document).decode() if as_json else f"public key:\n{public}")
    return 0


def _document(key: PrivateKey, out: Path | None) -> str:
    public = key.public()
    document = KeygenDocument(
        schema=SCHEMA,
        public_key=str(public),
        fingerprint=public.fingerprint,
        file=None if out is None else shown(out),
        private_key=key.format() if out is None else None,
    )
    return msgspec.json.encode(document).decode()


def _text(key: PrivateKey, out: Path | None) -> str:
    """The public key stands on the second line: scripts written for the original find it there."""
    private = f"private key:\n{key.format()}" if out is None else f"private key written to {out}"
    return f"public key:\n{key.public()}\n{private}"
