"""Single values that both files have: an address, a public key; and what is said of one that is wrong.

Knows no secret and opens no file, so it is quick to load.
"""

from pathlib import Path

from hyperion.config.complaint import KeyPath, quoted, wrong
from hyperion.config.endpoint import Endpoint
from hyperion.errors import ConfigError
from hyperion.proto.keys import KeyFormatError, PublicKey

#: Beginnings of the placeholders in example files. A salt or a key that everybody has is none.
PLACEHOLDERS = ("change-me", "base64_", "paste", "<")


def endpoint(path: Path, key: KeyPath, text: str, *, lowest_port: int = 1) -> Endpoint:
    """An address written in the configuration. Raises ``ConfigError``."""
    try:
        return Endpoint.parse(text, lowest_port=lowest_port)
    except ValueError as error:
        raise wrong(path, key, "HOST:PORT or [IPV6]:PORT", f"{quoted(text)} ({error})") from None


def public_key_of_value(path: Path, key: KeyPath, text: str) -> PublicKey:
    """A public key written in the configuration. Raises ``ConfigError``."""
    if is_placeholder(text):
        raise wrong(path, key, "a public key", "the placeholder of the example")
    try:
        return PublicKey.parse(text)
    except KeyFormatError as error:
        raise not_a_key(path, key, "public key", error) from None


def is_placeholder(text: str) -> bool:
    """Whether ``text`` was left as an example has it."""
    return text.strip().lower().startswith(PLACEHOLDERS)


def not_a_key(path: Path, key: KeyPath, what: str, error: KeyFormatError) -> ConfigError:
    """The error for a text that should be a key."""
    return wrong(path, key, f"a {what} of 32 bytes in base64", f"a text that is not one ({error})")
