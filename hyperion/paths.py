"""Where files are when nobody says otherwise.

Configuration: ``HYPERION_HOME``, then what the system says (``XDG_CONFIG_HOME``; ``%APPDATA%`` on Windows;
``~/.config`` on Linux and macOS alike, as the original has it). Never the current directory: root's cron stands where
others may write.

Runtime files (lock, operator socket) of one program with one configuration lie in one directory: ``RUNTIME_DIRECTORY``
of systemd, ``HYPERION_HOME/run``, ``/run/hyperion`` for root, ``XDG_RUNTIME_DIR/hyperion``, or ``run`` beside the
configuration; in it ``server`` or ``client``. A configuration named with ``--config`` that is not one of the usual
places has a directory of its own: so there is one daemon for each configuration, and everybody finds the right one.

The usual places are, for root, also that of the user who called ``sudo``, if root has no file of its own.

Opens nothing, creates nothing.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from hyperion.errors import UsageError

try:
    import pwd
except ImportError:  # Windows has no such list, and no root
    pwd = None  # type: ignore[assignment]

Program = Literal["server", "client"]

SERVER_CONFIG_NAME = "server.toml"
CLIENT_CONFIG_NAME = "hyperion.toml"

CONFIG_NAMES: Mapping[Program, str] = {"server": SERVER_CONFIG_NAME, "client": CLIENT_CONFIG_NAME}
LOG_NAMES: Mapping[Program, str] = {"server": "hyperion-server.log", "client": "hyperion.log"}

SYSTEM_CONFIG = Path("/etc/hyperion")
#: The client's unit has a directory of its own: both programs may run on one machine, for different users.
SYSTEM_CLIENT_CONFIG = Path("/etc/hyperion-client")
SYSTEM_RUNTIME = Path("/run/hyperion")
SYSTEM_LOG = Path("/var/log/hyperion")

#: Where programs look names up before they ask anybody (hosts(5)).
HOSTS_FILE = Path("/etc/hosts")

#: Where the kernel shows the device of a client that runs in transparent mode.
DEVICE = Path("/sys/class/net/hyperion0")

_DIRECTORY = "hyperion"
#: Hexadecimal digits that tell configurations of one user apart. Short, because a Unix socket's path has 107 bytes.
_NAME_DIGITS = 8


def config_directory(environ: Mapping[str, str] | None = None) -> Path:
    """The directory of configuration and keys. An empty variable counts as not set (XDG base directories, 0.8)."""
    environ = os.environ if environ is None else environ
    if home := environ.get("HYPERION_HOME"):
        return Path(home)
    for variable in ("XDG_CONFIG_HOME", "APPDATA"):
        if base := environ.get(variable):
            return Path(base, _DIRECTORY)
    return home_directory(environ) / ".config" / _DIRECTORY


def home_directory(environ: Mapping[str, str] | None = None) -> Path:
    """Of this user: what the variable says, else the system's list of users; ``/`` for one who has none, which is what
    systemd and containers call it."""
    environ = os.environ if environ is None else environ
    if base := environ.get("HOME") or environ.get("USERPROFILE"):
        return Path(base)
    try:
        return Path("/", "" if pwd is None else pwd.getpwuid(os.geteuid()).pw_dir)
    except (KeyError, OverflowError):
        return Path("/")


def absolute(path: Path, *, resolve: bool = False) -> Path:
    """``path`` from the root; with ``resolve`` over all links. Raises ``UsageError`` for one that counts from a current
    directory that is gone."""
    try:
        return Path(os.path.realpath(path)) if resolve else path.absolute()
    except FileNotFoundError:
        raise UsageError(
            f"{path} counts from the current directory, which is gone", hint="go to another one, or write it from / on"
        ) from None


def system_config(program: Program) -> Path:
    """The file that the systemd unit of ``program`` names."""
    directory = SYSTEM_CONFIG if program == "server" else SYSTEM_CLIENT_CONFIG
    return directory / CONFIG_NAMES[program]


def callers_config(program: Program, environ: Mapping[str, str] | None = None) -> Path | None:
    """Where the user who called ``sudo`` has it; ``None`` if nobody did, or root."""
    environ = os.environ if environ is None else environ
    caller = environ.get("SUDO_UID", "")
    if pwd is None or not (caller.isascii() and caller.isdigit()) or caller == "0":
        return None
    try:
        home = pwd.getpwuid(int(caller)).pw_dir
    except (KeyError, OverflowError):
        return None
    return config_directory({"HOME": home}) / CONFIG_NAMES[program]


def runtime_directory(
    program: Program,
    config_file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    *,
    root: bool | None = None,
) -> Path:
    """Where the lock and the sockets of ``program`` are. ``config_file``: as given with ``--config``, if it was.

    ``root``: whether this is user 0 (default: asked of the system).
    """
    environ = os.environ if environ is None else environ
    root = is_root() if root is None else root
    name = _instance(program, config_file, environ, root=root)
    base = _runtime_base(environ, root=root)
    # A unit whose directory is that of one program (RuntimeDirectory=hyperion/server) means it as it is.
    if environ.get("RUNTIME_DIRECTORY") and base.name == program:
        return base if name == program else base.parent / name
    return base / name


def system_runtime_directory(program: Program, config_file: Path | None = None) -> Path:
    """Where root's daemon has it: what another user looks at second."""
    return SYSTEM_RUNTIME / _instance(program, config_file, os.environ, root=is_root())


def log_file(program: Program, environ: Mapping[str, str] | None = None, *, root: bool | None = None) -> Path:
    """Where a daemon logs: beside the configuration, as in the original; root's in ``/var/log/hyperion``."""
    environ = os.environ if environ is None else environ
    if directories := environ.get("LOGS_DIRECTORY"):
        return Path(directories.split(":")[0], LOG_NAMES[program])
    in_system = is_root() if root is None else root
    if in_system and not environ.get("HYPERION_HOME"):
        return SYSTEM_LOG / LOG_NAMES[program]
    return config_directory(environ) / LOG_NAMES[program]


def is_root() -> bool:
    """Whether we are user 0. Never on Windows."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def expand_home(name: str, environ: Mapping[str, str] | None = None) -> Path:
    """``name`` with a leading ``~/`` replaced by the home directory. Other relative names stay relative."""
    return home_directory(environ) / name[2:] if name.startswith("~/") else Path(name)


def _runtime_base(environ: Mapping[str, str], *, root: bool) -> Path:
    if directories := environ.get("RUNTIME_DIRECTORY"):
        return Path(directories.split(":")[0])
    if home := environ.get("HYPERION_HOME"):
        return absolute(Path(home, "run"))
    if root:
        return SYSTEM_RUNTIME
    if base := environ.get("XDG_RUNTIME_DIR"):
        return Path(base, _DIRECTORY)
    return absolute(config_directory(environ)) / "run"


def _instance(program: Program, config_file: Path | None, environ: Mapping[str, str], *, root: bool) -> str:
    if config_file is None:
        return program
    # Resolved, because two names of one file are one configuration.
    file = absolute(config_file, resolve=True)
    usual = [config_directory(environ) / CONFIG_NAMES[program], system_config(program)]
    if root and not environ.get("HYPERION_HOME") and not usual[0].exists():
        # The one that is meant if none is named: ``hyperion.cli.usual_config``.
        usual += [of_caller] if (of_caller := callers_config(program, environ)) is not None else []
    if file in [absolute(path, resolve=True) for path in usual]:
        return program
    # Here, because the hash takes longer to load than all the rest, and the usual instance needs none.
    import hashlib  # noqa: PLC0415

    digest = hashlib.sha256(os.fsencode(file)).hexdigest()
    return f"{program}-{digest[:_NAME_DIGITS]}"
