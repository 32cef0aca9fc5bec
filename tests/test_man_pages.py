"""The manual pages are those of the commands, and roff takes them without a word."""

import os
import shlex
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

from tools.man_page import DIRECTORY, EXAMPLES, PROGRAMS, exit_codes, page

#: Wide lines, plain letters, no pager.
QUIET = {"LC_ALL": "C.UTF-8", "MANWIDTH": "120", "MANPAGER": "cat", "GROFF_NO_SGR": "1", "MAN_KEEP_FORMATTING": ""}

STALE = "the commands changed: make man"


def shown(page_file: Path) -> "subprocess.CompletedProcess[str]":
    command = ["man", "--warnings", "-l", str(page_file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, env={**os.environ, **QUIET})


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_pages_are_those_of_the_commands(name: str) -> None:
    assert (DIRECTORY / f"{name}.1").read_text(encoding="utf-8") == page(name, PROGRAMS[name]), STALE


def test_a_wheel_brings_them_where_man_looks() -> None:
    project = tomllib.loads((DIRECTORY.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    pages = {source: place for source, place in shared.items() if place.startswith("share/man/")}
    assert pages == {f"deploy/man/{name}.1": f"share/man/man1/{name}.1" for name in PROGRAMS}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_command_and_option_is_there(name: str) -> None:
    program = PROGRAMS[name]
    assert isinstance(program, click.Group)
    text = page(name, program)
    for command in program.commands.values():
        assert f"\n.SS {str(command.name).replace('-', chr(92) + '-')} " in text
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.hidden:
                for option in parameter.opts:
                    assert option.replace("-", "\\-") in text
    assert all(f"\n.B {code}\n" in text for code in exit_codes())


@pytest.mark.parametrize(("name", "line"), [(name, line) for name in EXAMPLES for line in EXAMPLES[name].values()])
def test_the_examples_are_command_lines(name: str, line: str) -> None:
    """Parsed, not run."""
    for part in line.removeprefix("sudo ").split(" && sudo "):
        program, command, *words = shlex.split(part)
        assert program == name
        kind = PROGRAMS[name]
        assert isinstance(kind, click.Group)
        kind.commands[command].make_context(command, words)


@pytest.mark.needs("man")
@pytest.mark.parametrize("name", PROGRAMS)
def test_man_shows_it_without_a_warning(name: str) -> None:
    done = shown(DIRECTORY / f"{name}.1")
    assert (done.returncode, done.stderr) == (0, "")
    assert "EXIT STATUS" in done.stdout


@pytest.mark.needs("man")
def test_a_warning_would_be_seen(tmp_path: Path) -> None:
    """Else the test above says nothing."""
    spoilt = tmp_path / "spoilt.1"
    spoilt.write_text(".TH X 1\n.SH NAME\nx \\- y\n.nonsense\n")
    assert "nonsense" in shown(spoilt).stderr
