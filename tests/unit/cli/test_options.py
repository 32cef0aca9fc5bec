import click
import pytest

from hyperion import __version__
from hyperion.cli import options
from hyperion.cli.border import run_program
from hyperion.cli.client import program as client
from hyperion.cli.server import program as server
from hyperion.events import SEVERITIES
from hyperion.log import FORMATS

PROGRAMS = pytest.mark.parametrize("program", [server, client])


@PROGRAMS
@pytest.mark.parametrize("option", ["-V", "--version"])
def test_version(capsys: pytest.CaptureFixture[str], program: click.Command, option: str) -> None:
    assert run_program("prog", program, [option]) == 0
    assert capsys.readouterr() == (f"prog {__version__}\n", "")


@PROGRAMS
def test_the_list_of_commands_fits_on_a_terminal(capsys: pytest.CaptureFixture[str], program: click.Group) -> None:
    assert run_program("prog", program, ["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert len(listed) == len(program.commands)
    assert [line for line in listed if len(line) > 79 or line.endswith("...")] == []


@PROGRAMS
def test_only_what_writes_promises_to_write_nothing(program: click.Group) -> None:
    words = {
        name: next((option.help for option in command.params if option.name == "dry_run"), None)
        for name, command in program.commands.items()
    }
    for name in ("up", "down", "reload"):
        assert words[name] == "Show what would be done, and do nothing."
    assert words["init"] == "Show what would be written, and write nothing."


def test_names_of_formats_and_levels_are_those_of_the_log() -> None:
    assert set(options.LOG_LEVELS) == set(SEVERITIES)
    assert set(options.LOG_FORMATS) == set(FORMATS)


@PROGRAMS
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--log-level", "loud"], "invalid value for '--log-level': 'loud' is not one of 'debug', "),
        (["--log-format", "xml"], "invalid value for '--log-format': 'xml' is not one of 'auto', "),
        (["--drain-timeout", "nan"], "invalid value for '--drain-timeout': nan is no number of seconds"),
        (["--drain-timeout", "inf"], "invalid value for '--drain-timeout': inf is no number of seconds"),
        (["--drain-timeout", "-1"], "invalid value for '--drain-timeout': -1.0 is not in the range x>=0"),
    ],
)
def test_bad_values(
    capsys: pytest.CaptureFixture[str], program: click.Command, arguments: list[str], expected: str
) -> None:
    assert run_program("prog", program, ["run", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"prog: error: {expected}")
