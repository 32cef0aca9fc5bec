"""From a configuration file to what a command works with, asking for a passphrase where that is possible."""

import os
import sys
from collections.abc import Iterable
from getpass import getpass
from pathlib import Path

from hyperion.cli.usual_config import usual_config
from hyperion.config import ClientConfig, Secrets, ServerConfig, load_server, read_client, resolve_client
from hyperion.config.complaint import wrong
from hyperion.config.forward import require_name
from hyperion.config.secrets import Prompt
from hyperion.errors import BadKeyError


def terminal_prompt(*, twice: bool = False) -> Prompt | None:
    """How to ask for a passphrase, or ``None`` without a terminal: a pipe must not be read as if it were a person.

    ``twice``: where a slip of the hand would lock its owner out.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    return _ask_twice if twice else _ask


def controlling_terminal_prompt() -> Prompt | None:
    """How to ask where standard input is data: on the terminal that the process belongs to, if it does."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return None
    return _ask  # ``getpass`` takes that terminal by itself


def _ask(question: str) -> str:
    try:
        return getpass(question)
    except EOFError:
        raise BadKeyError("no passphrase was given") from None


def _ask_twice(question: str) -> str:
    answer = _ask(question)
    if _ask("once more: ") != answer:
        raise BadKeyError("the two passphrases differ", hint="nothing was changed: try again")
    return answer


def server_path(given: Path | None) -> Path:
    """The file given, else the one in the usual place. Raises as ``usual_config``."""
    return given if given is not None else usual_config("server")


def client_path(given: Path | None) -> Path:
    """The file given, else the one in the usual place. Raises as ``usual_config``."""
    return given if given is not None else usual_config("client")


def load_server_config(path: Path, secrets: Secrets) -> ServerConfig:
    """Raises what ``load_server`` raises, and ``ConfigError`` for a gate that this system cannot provide."""
    config = load_server(path, secrets)
    if config.knock.enabled and sys.platform != "linux":
        hint = "set it to false, and admit your addresses in the firewall yourself"
        raise wrong(path, ("knock", "enabled"), "false", "true (the gate needs Linux)", hint=hint)
    return config


def load_client_config(path: Path, secrets: Secrets, named: Iterable[str] = ()) -> ClientConfig:
    """Raises what ``load_client`` raises, and ``UsageError`` if one of ``named`` is no server of the file: before
    anybody is asked for a secret in vain."""
    raw = read_client(path)
    for name in named:
        require_name([section.name for section in raw.server], name, path)
    return resolve_client(path, raw, secrets)
