"""The commands of real addresses, by the command line."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from hyperion.cli.client import program
from hyperion.cli.routes_commands import print_routes, tun


def test_the_program_has_them() -> None:
    assert isinstance(program, click.Group)
    assert program.commands["tun"] is tun
    assert program.commands["print-routes"] is print_routes


@pytest.mark.parametrize("command", ["tun", "print-routes"])
def test_help(command: str) -> None:
    shown = CliRunner().invoke(program, [command, "--help"])
    assert shown.exit_code == 0
    assert "real addresses" in shown.output


@pytest.mark.parametrize("options", [["--prefix", "31"], ["--mtu", "10"]])
def test_what_cannot_be(options: list[str], tmp_path: Path) -> None:
    assert CliRunner().invoke(program, ["tun", "--config", str(tmp_path), *options]).exit_code == 2
