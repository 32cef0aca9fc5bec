"""How a complaint about a configuration file reads: ``FILE: [section] key: expected this, got that``.

One line, whatever the file holds. What was found is shown only where it cannot be a secret: a line of an error message
ends up in logs, tickets and screenshots.
"""

import re
from pathlib import Path

from hyperion.errors import ConfigError

#: Where a value stands: names of tables and keys, and 0-based places in lists.
KeyPath = tuple[str | int, ...]

#: Longest value that a message repeats, characters; the rest of the line must stay readable.
MAX_SHOWN_CHARS = 60

#: Integers beyond 64 bits are no TOML (and Python refuses to print very long ones).
MAX_SHOWN_INTEGER = 2**63

#: Keys whose values are never shown, not even when their type is wrong. The names of variables are among them, because
#: people write the secret itself there; and ``source`` of ``[key]``, where "passphrase" looks like a question.
HIDDEN_KEYS = frozenset(
    {
        "source",
        "env_var",
        "value",
        "passphrase_env",
        "salt",
        "key_env",
        "key_value",
        "admin_pubkeys",
        "pubkey",
        "server_pubkey",
    }
)

# Base64 of 32 bytes, or their hexadecimal form.
_LOOKS_LIKE_A_KEY = re.compile(r"[A-Za-z0-9+/_-]{43}=?|[0-9A-Fa-f]{64}")


def wrong(path: Path, key: KeyPath, expected: str, got: str | None = None, *, hint: str | None = None) -> ConfigError:
    """The error for one value. ``got`` is text made by ``shown``, or words of our own."""
    found = f", got {got}" if got is not None else ""
    return ConfigError(f"{path}: {spell(key)}: expected {expected}{found}", hint=hint)


def spell(key: KeyPath) -> str:
    """``("server", 1, "addr")`` as ``[[server]] #2 addr``."""
    words: list[str] = []
    for place, part in enumerate(key):
        follower = key[place + 1] if place + 1 < len(key) else None
        if isinstance(part, int):
            words.append(f"#{part + 1}")
        elif place == 0 and isinstance(follower, int):
            words.append(f"[[{part}]]")
        elif place == 0 and follower is not None:
            words.append(f"[{part}]")
        else:
            words.append(part)
    return " ".join(words)


def shown(value: object, key: KeyPath) -> str:
    """``value`` as a message may show it."""
    hidden = any(part in HIDDEN_KEYS for part in key)
    match value:
        case bool():
            return "true or false" if hidden else str(value).lower()
        case int() | float():
            return "a number" if hidden or abs(value) > MAX_SHOWN_INTEGER else str(value)
        case str():
            return "a text" if hidden else quoted(value)
        case dict():
            return "a section"
        case list():
            return "a list"
        case _:
            return "a date or time"


def looks_like_a_key(text: str) -> bool:
    """Whether somebody pasted a key where a name belongs."""
    return _LOOKS_LIKE_A_KEY.fullmatch(text.strip()) is not None


def quoted(text: str) -> str:
    """``text`` in quotes, cut if long, withheld if a part of it looks like a key that was put in the wrong place."""
    if _LOOKS_LIKE_A_KEY.search(text):
        return f"a text of {len(text)} characters"
    return f'"{text}"' if len(text) <= MAX_SHOWN_CHARS else f'"{text[:MAX_SHOWN_CHARS]}..."'
