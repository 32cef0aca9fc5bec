import click
import pytest

from hyperion.cli import server_files
from hyperion.cli.server import program


@pytest.mark.parametrize("name", ["init", "add-admin", "rm-admin", "admins"])
def test_the_program_has_them(name: str) -> None:
    assert isinstance(program, click.Group)
    assert program.commands[name] is getattr(server_files, name.replace("-", "_"))
