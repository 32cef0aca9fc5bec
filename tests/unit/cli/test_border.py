import errno
import os
import subprocess
import sys

import click
import pytest

from hyperion.cli import options
from hyperion.cli.border import Action, run_program
from hyperion.errors import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, BadKeyError, ConfigError, HyperionError


def program(action: Action) -> click.Command:
    @click.group(context_settings=options.CONTEXT)
    @options.debug
    def group() -> None:
        """A program."""

    @group.command()
    @click.option("--number", type=int)
    @options.debug
    def act(number: int | None) -> Action:
        """Act."""
        return action

    return group


def fail(error: BaseException) -> Action:
    def action() -> int:
        raise error

    return action


@pytest.mark.parametrize("code", [0, 1, 42])
def test_the_code_of_the_action(code: int) -> None:
    assert run_program("prog", program(lambda: code), ["act"]) == code


@pytest.mark.parametrize("kind", [ConfigError, BadKeyError, HyperionError])
def test_known_errors(capsys: pytest.CaptureFixture[str], kind: type[HyperionError]) -> None:
    assert run_program("prog", program(fail(kind("it is wrong", hint="mend it"))), ["act"]) == kind.exit_code
    assert capsys.readouterr() == ("", "prog: error: it is wrong\nhint: mend it\n")


def test_no_hint_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program("prog", program(fail(ConfigError("it is wrong"))), ["act"]) == 78
    assert capsys.readouterr().err == "prog: error: it is wrong\n"


def test_a_bug_shows_its_type_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program("prog", program(fail(RuntimeError("canary"))), ["act"]) == 70
    err = capsys.readouterr().err
    assert err == "prog: error: internal error: RuntimeError\nhint: run it again with --debug, and report it\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/root/x"), 77, "prog: error: /root/x: permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), 73, "prog: error: no space left on device"),
        (OSError(errno.EMFILE, "Too many open files"), 75, "prog: error: too many open files"),
        (OSError(errno.EBADF, "canary"), 70, "prog: error: internal error: OSError"),
    ],
)
def test_what_the_system_refuses_is_no_bug(
    capsys: pytest.CaptureFixture[str], error: OSError, code: int, said: str
) -> None:
    assert run_program("prog", program(fail(error)), ["act"]) == code
    first, hint, *rest = capsys.readouterr().err.splitlines()
    assert (first, hint[:6], rest) == (said, "hint: ", [])


@pytest.mark.parametrize("arguments", [["--debug", "act"], ["act", "--debug"]])
@pytest.mark.parametrize("error", [RuntimeError("details"), ConfigError("details")])
def test_debug_shows_a_traceback(capsys: pytest.CaptureFixture[str], arguments: list[str], error: Exception) -> None:
    run_program("prog", program(fail(error)), arguments)
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):")
    assert "details" in err


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program("prog", program(fail(KeyboardInterrupt())), ["act"]) == EXIT_INTERRUPTED == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["act", "--numbr", "1"], "no such option '--numbr'\nhint: did you mean --number?\n"),
        (["act", "--zzz"], "no such option '--zzz'\nhint: prog act --help shows what there is\n"),
        (["acct"], "no such command 'acct'\nhint: did you mean act?\n"),
        (["act", "more"], "got unexpected extra argument (more)\nhint: prog act --help shows what there is\n"),
        (["act", "--number"], "option '--number' requires an argument\nhint: prog --help shows what there is\n"),
        (
            ["act", "--number", "x"],
            "invalid value for '--number': 'x' is not a valid integer\nhint: prog act --help shows what there is\n",
        ),
    ],
)
def test_bad_usage(capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str) -> None:
    assert run_program("prog", program(lambda: 0), arguments) == 2
    assert capsys.readouterr() == ("", f"prog: error: {expected}")


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program("prog", program(lambda: 0), []) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: prog ")


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["act", "-h"]])
def test_help(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert run_program("prog", program(fail(RuntimeError("not reached"))), arguments) == 0
    assert capsys.readouterr().out.startswith("Usage: prog ")


CODE = """
import sys
from hyperion.cli.client import program
from hyperion.cli.border import run_program
sys.exit(run_program("prog", program, {arguments}))
"""


def test_a_reader_that_left_is_no_failure_of_ours() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", CODE.format(arguments=["keygen"])]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (EXIT_BROKEN_PIPE, b"")


def test_output_that_cannot_be_written_is_a_failure() -> None:
    command = [sys.executable, "-c", CODE.format(arguments=["keygen"])]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=30, check=False)
    assert done.returncode == 73
    assert done.stderr == b"prog: error: cannot write the output: no space left on device\n"
