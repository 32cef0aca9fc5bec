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
