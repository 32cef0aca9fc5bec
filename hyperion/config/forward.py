"""Forwards that are asked for on the command line: ``-L 8080:web1:80``.

Knows that notation and how it adds to a configuration that has been loaded.
"""

import difflib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hyperion.config.endpoint import LOOPBACK, MAX_PORT, Endpoint
from hyperion.config.settings import ClientConfig, ForwardEntry
from hyperion.errors import UsageError

#: Where names can be seen, if none is close to what was typed.
NAMES_HINT = "hyperion-client ls shows the names"

#: Longest port, digits.
_MAX_PORT_DIGITS = 5


def parse_forward(text: str) -> ForwardEntry:
    """From ``LPORT:SERVER:RPORT``, or ``SERVER:RPORT`` for any free local port. Raises ``UsageError``."""
    parts = text.split(":")
    if len(parts) not in {2, 3}:
        raise UsageError(f"-L {text}: expected LPORT:SERVER:RPORT or SERVER:RPORT", hint="like -L 8080:web1:80")
    local_port = _port(text, parts[0], lowest=0) if len(parts) == 3 else 0
    return ForwardEntry(Endpoint(LOOPBACK, local_port), parts[-2], _port(text, parts[-1], lowest=1))


def add_forwards(config: ClientConfig, extra: list[ForwardEntry]) -> ClientConfig:
    """``config`` with more forwards. Raises ``UsageError`` for an unknown server or a local address used twice."""
    forwards = list(config.forwards)
    for forward in extra:
        require_server(config, forward.server)
        if any(forward.local.collides(other.local) for other in forwards):
            raise UsageError(
                f"-L: {forward.local} is used by two forwards", hint="leave out the local port to get a free one"
            )
        if any(forward.local.collides(other.listen) for other in config.socks):
            raise UsageError(
                f"-L: {forward.local} is where SOCKS listens", hint="leave out the local port to get a free one"
            )
        forwards.append(forward)
    return replace(config, forwards=tuple(forwards))


def require_server(config: ClientConfig, name: str) -> None:
    """Raises ``UsageError`` if there is no such server."""
    require_name([server.name for server in config.servers], name, config.path)


def require_name(names: Sequence[str], name: str, path: Path) -> None:
    """Raises ``UsageError``, with the closest name as a hint, if ``name`` is not among ``names`` of ``path``."""
    if name in names:
        return
    close = difflib.get_close_matches(name, names, n=1)
    raise UsageError(f"no server {name} in {path}", hint=f"did you mean {close[0]}?" if close else NAMES_HINT)


def _port(option: str, text: str, *, lowest: int) -> int:
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_PORT_DIGITS and lowest <= int(text) <= MAX_PORT:
        return int(text)
    raise UsageError(f"-L {option}: {text or 'nothing'} is not a port from {lowest} to {MAX_PORT}")
