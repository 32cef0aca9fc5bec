"""``ssh-config``: a ``Host`` for each server, so that ``ssh NAME`` goes through the tunnel, without root or a port.

Knows what ssh understands. Host keys are kept under a name of their own, since an address says nothing here.
"""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hyperion.cli import fence, units
from hyperion.cli.diff import diff
from hyperion.cli.loading import client_path
from hyperion.cli.output import say
from hyperion.config.outline import outline_client
from hyperion.config.reading import read_client
from hyperion.config.safe_file import Original, locked, make_directory, read_original, rewrite
from hyperion.errors import CannotCreateError, InternalError, UsageError, reason_of

if sys.platform != "win32":
    import pwd

SCHEMA = "hyperion.ssh-config/1"
PROGRAM = "hyperion-client"

#: What ssh takes as a name without a second meaning: no pattern, no option, nothing that a shell would read.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]*")

#: Ends the last ``Host``: lines that somebody wrote at the top of the file still hold for all.
_SCOPE_END = "Match all\n"


class HostDocument(msgspec.Struct, kw_only=True):
    """One ``Host``. ``alias``: the name its key has in ``known_hosts``; ``fdpass``: ssh is handed the connection."""

    host: str
    server: str
    port: int
    alias: str
    proxy_command: str
    fdpass: bool


class SshConfigDocument(msgspec.Struct, kw_only=True):
    """What ``--json`` prints. ``file``: what was written, if anything; ``skipped``: names that ssh cannot take."""

    schema: str = SCHEMA
    file: str | None
    hosts: list[HostDocument]
    skipped: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the caller wants. ``file``: instead of the user's own; ``prefix``: put before each server's name;
    ``fdpass``: with a running client only, and then nothing stands between ssh and that client."""

    write: bool
    remove: bool
    file: Path | None
    prefix: str
    port: int
    fdpass: bool
    dry_run: bool
    as_json: bool


def run_ssh_config(config_file: Path | None, wish: Wish) -> int:
    """Prints the blocks, or keeps them in a part of the ssh configuration. Raises what reading the file raises,
    ``UsageError`` and ``CannotCreateError``; then nothing was written."""
    if wish.write and wish.remove:
        raise UsageError("--write and --remove contradict each other", hint="leave one of them out")
    if not (wish.write or wish.remove) and (wish.file is not None or wish.dry_run):
        raise UsageError("--file and --dry-run are for --write and --remove", hint="add one of them")
    if wish.prefix and not _PLAIN_NAME.fullmatch(wish.prefix):
        what = "--prefix: expected letters, digits and . _ @ + -, beginning with a letter or a digit"
        raise UsageError(what, hint="like hyp-")
    if wish.remove:
        return _remove(wish)
    path = client_path(config_file)
    names = [server.name for server in outline_client(path, read_client(path)).servers]
    hosts = make_hosts(names, proxy_command(config_file, os.environ), wish)
    skipped = [name for name in names if name not in [host.server for host in hosts]]
    for name in skipped:
        print(f"{PROGRAM}: warning: {name} is left out: ssh cannot take this name", file=sys.stderr)
    if wish.write:
        return _write(wish, hosts, skipped)
    _show(wish, None, hosts, skipped, blocks(hosts).rstrip("\n"))
    return 0


def proxy_command(config_file: Path | None, environ: Mapping[str, str]) -> list[str]:
    """The command up to the server's name, which finds the same configuration, and the same running client, as this
    one does."""
    home = environ.get("HYPERION_HOME")
    found = shutil.which(PROGRAM) or os.path.abspath(sys.argv[0])
    command = [f"env HYPERION_HOME={shlex.quote(os.path.abspath(home))}"] if home else []
    command += [shlex.quote(found), "nc"]
    if config_file is not None:
        command += ["--config", shlex.quote(os.path.abspath(config_file))]
    return command


def make_hosts(names: Sequence[str], command: Sequence[str], wish: Wish) -> list[HostDocument]:
    """For each name that ssh can take. ssh reads ``%`` as the beginning of something, unless it is doubled."""
    start = " ".join([*command, *(["-F"] if wish.fdpass else [])]).replace("%", "%%")
    return [
        HostDocument(
            host=wish.prefix + name,
            server=name,
            port=wish.port,
            alias=f"hyperion-{name}",
            proxy_command=f"{start} {name} %p",
            fdpass=wish.fdpass,
        )
        for name in names
        if _PLAIN_NAME.fullmatch(name)
    ]


def blocks(hosts: Sequence[HostDocument]) -> str:
    """As ssh reads them."""
    lines: list[str] = []
    for host in hosts:
        lines += [f"Host {host.host}", f"    HostKeyAlias {host.alias}", f"    Port {host.port}"]
        lines += [f"    ProxyCommand {host.proxy_command}"]
        lines += ["    ProxyUseFdpass yes", ""] if host.fdpass else [""]
    return "".join(f"{line}\n" for line in lines)


def user_file() -> Path:
    """The file that ssh reads. ssh asks the user database, not ``HOME``."""
    if sys.platform == "win32":
        return Path.home() / ".ssh" / "config"
    return Path(pwd.getpwuid(os.getuid()).pw_dir, ".ssh", "config")


def _write(wish: Wish, hosts: Sequence[HostDocument], skipped: Sequence[str]) -> int:
    part = blocks(hosts) + _SCOPE_END
    path = wish.file or user_file()
    changed = _edit(path, wish, lambda text: fence.put(text, part))
    example = f"; try: ssh {hosts[0].host}" if hosts else ""
    number = units.count(len(hosts), "host")
    words = f"{number} in {path}{example}" if changed else f"{number} in {path}, as before"
    if not wish.dry_run:
        _show(wish, path, hosts, skipped, words)
    return 0


def _remove(wish: Wish) -> int:
    path = wish.file or user_file()
    changed = _edit(path, wish, fence.remove)
    if not wish.dry_run:
        _show(wish, path, [], [], f"removed from {path}" if changed else f"there was nothing of hyperion in {path}")
    return 0


def _show(wish: Wish, path: Path | None, hosts: Sequence[HostDocument], skipped: Sequence[str], words: str) -> None:
    if wish.as_json:
        file = None if path is None else str(path)
        say(msgspec.json.encode(SshConfigDocument(file=file, hosts=list(hosts), skipped=list(skipped))).decode())
    elif words:
        say(words)


def _edit(path: Path, wish: Wish, change: Callable[[str], str]) -> bool:
    """Whether there was something to change."""
    if not path.parent.is_dir() and (wish.dry_run or wish.remove):
        return _apply(path, read_original(path), wish, change)
    try:
        make_directory(path.parent)
    except OSError as error:
        raise CannotCreateError(f"{path.parent} cannot be made: {reason_of(error)}") from None
    with locked(read_original(path).path.parent):
        return _apply(path, read_original(path), wish, change)


def _apply(path: Path, original: Original, wish: Wish, change: Callable[[str], str]) -> bool:
    # Whatever the bytes mean: what is not ours comes out as it went in.
    before = original.content.decode("utf-8", "surrogateescape")
    after = change(before)
    if wish.dry_run:
        say(diff(path, before, after))
        return after != before
    if after == before:
        return False

    def check(content: bytes) -> None:
        kept = fence.remove(content.decode("utf-8", "surrogateescape"))
        if kept != fence.remove(before):
            raise InternalError(f"{path}: the edit would change what is not ours", hint="nothing was changed")

    rewrite(original, after.encode("utf-8", "surrogateescape"), check)
    return True
