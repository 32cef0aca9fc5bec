"""What a shell may complete: names of servers and admins, straight from the file; and the scripts that shells want.

Runs at each press of the tab key, so it imports nothing slow, and it never complains: whatever is wrong with the file,
there is then nothing to complete. Only names are looked at.
"""

import re
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, ShellComplete, get_completion_class

from hyperion.paths import CLIENT_CONFIG_NAME, SERVER_CONFIG_NAME, config_directory

SHELLS = ("bash", "zsh", "fish")

#: Names that a shell takes for a word, whatever they are put beside: what is completed is not quoted.
_PLAIN = re.compile(r"[\w.@+%][\w.@+%-]*")

#: Largest file that is looked at, bytes: as in ``hyperion.config``.
_MAX_FILE_BYTES = 1024 * 1024


class ServerName(click.ParamType[str]):
    """The name of a server of the configuration. Takes any text: whether there is such a server is judged later."""

    name = "server"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin so and are not there yet."""
        given = ctx.params.get("config_file")
        taken = ctx.params.get(param.name or "") or ()
        names = server_names(given if isinstance(given, Path) else None)
        return [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in taken]


class ServerNames(ServerName):
    """Several of them, with commas between."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The last one of the list."""
        before, comma, last = incomplete.rpartition(",")
        found = super().shell_complete(ctx, param, last)
        return [CompletionItem(before + comma + item.value) for item in found if item.value not in before.split(",")]


class AdminName(click.ParamType[str]):
    """The name of an admin of the server's configuration; any text, as above."""

    name = "admin"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin so."""
        given = ctx.params.get("config_file")
        path = given if isinstance(given, Path) else config_directory() / SERVER_CONFIG_NAME
        return [CompletionItem(name) for name in _names(path, "admin") if name.startswith(incomplete)]


def server_names(config_file: Path | None) -> list[str]:
    """In the order of the client's file; none if it cannot be read."""
    return _names(config_file if config_file is not None else config_directory() / CLIENT_CONFIG_NAME, "server")


def _names(path: Path, kind: str) -> list[str]:
    import tomllib  # noqa: PLC0415 - only for the tab key, and every command loads this module

    try:
        if not path.is_file():  # a named pipe would hold the shell up
            return []
        with path.open("rb") as file:
            table: Any = tomllib.loads(file.read(_MAX_FILE_BYTES).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return []
    sections = table.get(kind, [])
    found = (
        [section.get("name") for section in sections if isinstance(section, dict)] if isinstance(sections, list) else []
    )
    return [name for name in found if isinstance(name, str) and _PLAIN.fullmatch(name)]


def script(program: str, command: click.Command, shell: str) -> str:
    """What ``shell`` runs to complete ``program``; it asks the program itself, each time."""
    kind = get_completion_class(shell)
    assert kind is not None
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    # Not the source() of the class for bash, which runs the bash it finds to ask for its version.
    return ShellComplete.source(kind(command, {}, program, variable)).strip("\n")
