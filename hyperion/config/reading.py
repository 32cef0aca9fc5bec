"""The two files as they are written, each value checked by itself: the first step, and all that some commands need.

Quick to load: no key, no address, no secret is looked at.
"""

from pathlib import Path

from hyperion.config.schema import ClientFile, ServerFile
from hyperion.config.toml_file import read


def read_server(path: Path) -> ServerFile:
    """``server.toml``. Raises ``ConfigMissingError``, ``ConfigError``."""
    return read(path, ServerFile)


def read_client(path: Path) -> ClientFile:
    """``hyperion.toml``. Raises ``ConfigMissingError``, ``ConfigError``."""
    return read(path, ClientFile)
