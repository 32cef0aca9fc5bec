import click
import pytest

from hyperion.cli import client_files
from hyperion.cli.client import program
from hyperion.cli.ssh_config import Wish


@pytest.mark.parametrize("name", ["init", "add-server", "rm-server", "ls", "ssh-config"])
def test_the_program_has_them(name: str) -> None:
    assert isinstance(program, click.Group)
    assert program.commands[name] is getattr(client_files, name.replace("-", "_"))


def test_each_wish_is_an_option_of_ssh_config() -> None:
    given = {parameter.name for parameter in client_files.ssh_config.params}
    assert given - {"config_file", "debug"} == set(Wish.__dataclass_fields__)
