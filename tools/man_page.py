"""Makes ``deploy/man/*.1`` from the commands themselves: ``make man``. A test keeps both equal.

Knows what a click command says of itself, and roff. No date, so that the pages change only when the commands do.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from hyperion import __version__, errors
from hyperion.cli.client import program as client
from hyperion.cli.options import CONTEXT
from hyperion.cli.server import program as server

DIRECTORY = Path(__file__).parents[1] / "deploy" / "man"
PROGRAMS = {"hyperion-client": client, "hyperion-server": server}

FOR_ALL = "--debug and --help may also be given behind a command."

#: Exit codes that no class of errors stands for.
OTHER_CODES = {
    0: "Fine.",
    1: "At least one server or check failed.",
    4: "Degraded: some of what should be up is not.",
    130: "Ended by SIGINT, Ctrl-C.",
    141: "Whoever read the output left.",
}

ENVIRONMENT = {
    "HYPERION_HOME": "Directory of configuration, keys and runtime files, instead of all the others.",
    "XDG_CONFIG_HOME": "The configuration is in its directory hyperion; default: ~/.config.",
    "HYPERION_PASSPHRASE": (
        "The shared passphrase, unless passphrase_env in the configuration names another variable. Without it the "
        "terminal is asked."
    ),
    "NO_COLOR": "If set and not empty, nothing is coloured.",
}

#: Command lines with what they are for, as somebody would type them the first time.
EXAMPLES = {
    "hyperion-client": {
        "Configuration, key and salt of an admin; says what to do on the server:": "hyperion-client init",
        "One more server, with the line that hyperion-server init printed:": (
            "hyperion-client add-server web1 203.0.113.10:8443 PUBKEY"
        ),
        "All servers in the background, each under an address of its own; then ssh user@10.99.0.10:": (
            "sudo hyperion-client up"
        ),
        "Without root: ssh, scp, git and rsync by the servers' names:": "hyperion-client ssh-config --write",
        "What stops a server from being reached:": "hyperion-client doctor web1",
    },
    "hyperion-server": {
        "Configuration and key of a server, with the line that hyperion-client init printed:": (
            "hyperion-server init --salt SALT --admin-key KEY --allow 22,5432"
        ),
        "Start it, then drop all else in the firewall, and put that back unless somebody gets in:": (
            "sudo hyperion-server up && sudo hyperion-server apply-firewall"
        ),
        "One more admin, for a time, and for one port:": "hyperion-server add-admin bob KEY --allow 22 --expires 90d",
        "Take the change up; sessions of whoever was removed are cut:": "sudo hyperion-server reload",
    },
}

FILES = {
    "hyperion-client": {
        "~/.config/hyperion/hyperion.toml": "Configuration.",
        "~/.config/hyperion/admin.key": "Secret key of this admin; for its owner only.",
    },
    "hyperion-server": {
        "~/.config/hyperion/server.toml": "Configuration.",
        "~/.config/hyperion/server.key": "Secret key of this server; for its owner only.",
    },
}


def page(name: str, program: click.Command) -> str:
    """The manual page of a program with its commands."""
    assert isinstance(program, click.Group)
    lines = [
        f'.\\" Made by tools/man_page.py from the commands of {name}.',
        f'.TH {_escaped(name).upper()} 1 "" "hyperion {__version__}" "Hyperion"',
        *(".SH NAME", f"{_escaped(name)} \\- {_escaped(_first_line(program)).removesuffix('.')}"),
        *(".SH SYNOPSIS", f".B {_escaped(name)}", "[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]..."),
        *(".SH DESCRIPTION", *_text(inspect.cleandoc(program.help or ""))),
        *(".SH OPTIONS", *_options(name, program), ".PP", _escaped(FOR_ALL), ".SH COMMANDS"),
    ]
    for _, command in sorted(program.commands.items()):
        if not command.hidden:
            lines += _command(name, command)
    lines.append(".SH EXAMPLES")
    for what, example in EXAMPLES[name].items():
        lines += [".PP", _escaped(what), ".PP", ".in +4n", ".nf", _escaped(example), ".fi", ".in"]
    lines += [".SH EXIT STATUS", *_pairs({str(code): text for code, text in exit_codes().items()})]
    lines += [".SH ENVIRONMENT", *_pairs(ENVIRONMENT), ".SH FILES", *_pairs(FILES[name])]
    other = next(each for each in PROGRAMS if each != name)
    lines += [".SH SEE ALSO", f".BR {_escaped(other)} (1),", ".BR ssh (1),", ".BR nft (8)"]
    return "\n".join(lines) + "\n"


def exit_codes() -> dict[int, str]:
    """Each code with what it means: what its classes of errors say of themselves."""
    found: dict[int, list[str]] = {}
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.HyperionError) and kind is not errors.HyperionError:
            found.setdefault(kind.exit_code, []).append(_sentence(kind))
    told = {code: " Or: ".join(sentences) for code, sentences in found.items()}
    return dict(sorted({**told, **OTHER_CODES}.items()))


def _sentence(kind: type) -> str:
    return (inspect.getdoc(kind) or "").split("\n\n")[0].replace("\n", " ")


def _command(program: str, command: click.Command) -> Iterator[str]:
    arguments = [f"\\fI{_escaped(part)}\\fR" for part in _metavars(command)]
    yield " ".join([f".SS {_escaped(command.name or '')}", "[\\fIOPTION\\fR]...", *arguments])
    yield from _text(inspect.cleandoc(command.help or ""))
    yield from _options(program, command, without=("--debug", "--help"))


def _metavars(command: click.Command) -> Iterator[str]:
    context = click.Context(command)
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            yield parameter.make_metavar(context)


def _options(program: str, command: click.Command, without: tuple[str, ...] = ()) -> Iterator[str]:
    context = click.Context(command, info_name=program, help_option_names=CONTEXT["help_option_names"])
    for parameter in command.get_params(context):
        if not isinstance(parameter, click.Option) or parameter.hidden or set(parameter.opts) & set(without):
            continue
        record = parameter.get_help_record(context)
        if record is not None:
            names, text = record
            yield ".TP"
            yield f".B {_escaped(' '.join(names.split()))}"
            yield from _text(text)


def _pairs(table: dict[str, str]) -> Iterator[str]:
    for name, text in table.items():
        yield from (".TP", f".B {_escaped(name)}", *_text(text))


def _first_line(command: click.Command) -> str:
    first = inspect.cleandoc(command.help or "").split("\n\n")[0].replace("\n", " ")
    return first[:1].lower() + first[1:]


def _text(text: str) -> Iterator[str]:
    """Paragraphs; a line each, as roff fills them itself."""
    for place, paragraph in enumerate(text.replace("\b\n", "").split("\n\n")):
        if place:
            yield ".PP"
        yield _escaped(" ".join(paragraph.split()))


def _escaped(text: str) -> str:
    """Nothing in it means anything to roff: backslashes, hyphens that somebody will copy, a dot or quote in front."""
    safe = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", safe)


def main() -> None:
    """Writes all pages."""
    DIRECTORY.mkdir(exist_ok=True)
    for name, program in PROGRAMS.items():
        (DIRECTORY / f"{name}.1").write_text(page(name, program), encoding="utf-8")


if __name__ == "__main__":
    main()
