"""From what ``[key]`` says to the PSK, and from the name of a key file to the key.

Knows the four sources and what each needs. Fetching is the business of ``hyperion.config.secrets`` and ``keyfile``.
"""

import os
import re
from pathlib import Path
from typing import assert_never

from hyperion.config.complaint import KeyPath, looks_like_a_key, wrong
from hyperion.config.keyfile import read_secret
from hyperion.config.schema import KeySection
from hyperion.config.secrets import DEFAULT_VARIABLE, Secrets
from hyperion.config.values import is_placeholder, not_a_key
from hyperion.errors import BadKeyError
from hyperion.paths import expand_home
from hyperion.proto.keys import MIN_SALT_BYTES, KeyFormatError, PrivateKey, Psk

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def psk_of_section(path: Path, section: KeySection, secrets: Secrets, question: str) -> Psk:
    """The PSK that a ``[key]`` section leads to.

    Raises ``ConfigError`` for what the file says wrong, ``BadKeyError`` for what it points to.
    """
    match section.source:
        case "passphrase":
            return _psk_of_passphrase(path, section, secrets, question)
        case "env":
            return psk_of_variable(path, ("key", "env_var"), section.env_var, secrets)
        case "value":
            return psk_of_value(path, ("key", "value"), section.value)
        case "file":
            return _psk_of_file(path, section.file)
        case _:
            assert_never(section.source)


def _psk_of_passphrase(path: Path, section: KeySection, secrets: Secrets, question: str) -> Psk:
    salt = section.salt
    if salt is None:
        raise wrong(path, ("key", "salt"), 'a salt, because source is "passphrase"', "nothing")
    if is_placeholder(salt):
        raise wrong(path, ("key", "salt"), "a salt of your own", "the placeholder of the example")
    if len(salt.encode("utf-8")) < MIN_SALT_BYTES:
        raise wrong(path, ("key", "salt"), f"at least {MIN_SALT_BYTES} bytes", "fewer")
    variable = DEFAULT_VARIABLE
    if section.passphrase_env is not None:
        variable = _checked_variable(path, ("key", "passphrase_env"), section.passphrase_env)
    return Psk.from_passphrase(secrets.passphrase(variable, question), salt)


def psk_of_variable(path: Path, key: KeyPath, name: str | None, secrets: Secrets) -> Psk:
    """From base64 in the variable called ``name``."""
    name = _checked_variable(path, key, name)
    text = secrets.variable(name)
    if text is None:
        raise BadKeyError(f"variable {name} is not set, but should hold the psk", hint=f"{path} names it")
    try:
        return Psk.parse(text)
    except KeyFormatError as error:
        raise BadKeyError(f"variable {name} does not hold a psk: {error}") from None


def psk_of_value(path: Path, key: KeyPath, text: str | None) -> Psk:
    """From base64 in the configuration itself."""
    if text is None:
        raise wrong(path, key, 'a psk in base64, because source is "value"', "nothing")
    if is_placeholder(text):
        raise wrong(path, key, "a psk of your own", "the placeholder of the example")
    try:
        return Psk.parse(text)
    except KeyFormatError as error:
        raise not_a_key(path, key, "psk", error) from None


def _psk_of_file(path: Path, name: str | None) -> Psk:
    file = _checked_file(path, ("key", "file"), name)
    try:
        return Psk.parse(read_secret(file, path))
    except KeyFormatError as error:
        raise BadKeyError(f"key file {file}: {error}") from None


def identity_of_file(path: Path, key: KeyPath, name: str) -> PrivateKey:
    """The private key in the file that the configuration calls ``name``."""
    file = _checked_file(path, key, name)
    try:
        return PrivateKey.parse(read_secret(file, path))
    except KeyFormatError as error:
        raise BadKeyError(f"key file {file}: {error}", hint="this file should hold the private key, one line") from None


def _checked_file(path: Path, key: KeyPath, name: str | None) -> Path:
    if not name or "\0" in name:
        raise wrong(path, key, "a file name", "nothing" if not name else "a text with a NUL in it")
    file = expand_home(name)
    # A path without dots may look like one by chance, if it has the length; where it leads to a file it is a name.
    if looks_like_a_key(name) and not os.path.exists(file):
        raise wrong(path, key, "the name of a file that holds the key", "what looks like the key itself")
    return file


def _checked_variable(path: Path, key: KeyPath, name: str | None) -> str:
    if name is None:
        raise wrong(path, key, 'the name of a variable, because source is "env"', "nothing")
    if not _VARIABLE.fullmatch(name) or looks_like_a_key(name):
        raise wrong(path, key, "the name of a variable (letters, digits, _)", "something else")
    return name
