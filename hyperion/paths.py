"""Where files are when nobody says otherwise.

Order: ``HYPERION_HOME``, then what the system says (``XDG_CONFIG_HOME``; ``%APPDATA%`` on Windows; ``~/.config`` on
Linux and macOS alike, as the original has it), then the current directory. Opens nothing, creates nothing.
"""

import os
from collections.abc import Mapping
from pathlib import Path

SERVER_CONFIG_NAME = "server.toml"
CLIENT_CONFIG_NAME = "hyperion.toml"

_DIRECTORY = "hyperion"


def config_directory(environ: Mapping[str, str] | None = None) -> Path:
    """The directory of configuration and keys. An empty variable counts as not set (XDG base directories, 0.8)."""
    environ = os.environ if environ is None else environ
    if home := environ.get("HYPERION_HOME"):
        return Path(home)
    for variable, below in (("XDG_CONFIG_HOME", ""), ("APPDATA", ""), ("HOME", ".config")):
        if base := environ.get(variable):
            return Path(base, below, _DIRECTORY)
    return Path(_DIRECTORY)


def expand_home(name: str, environ: Mapping[str, str] | None = None) -> Path:
    """``name`` with a leading ``~/`` replaced by the home directory. Other relative names stay relative."""
    environ = os.environ if environ is None else environ
    home = environ.get("HOME") or environ.get("USERPROFILE")
    if name.startswith("~/") and home:
        return Path(home, name[2:])
    return Path(name)
