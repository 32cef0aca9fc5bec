"""The README's examples are what the program accepts, and its commands exist."""

import re
from pathlib import Path

import msgspec.toml
import pytest

from hyperion.config.schema import ClientFile, ServerFile

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVER_EXAMPLE, CLIENT_EXAMPLE = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)


def test_the_servers_configuration_is_valid() -> None:
    example = msgspec.toml.decode(SERVER_EXAMPLE, type=ServerFile)
    assert example.egress.allow == [22, 5432]


def test_the_clients_configuration_is_valid_and_fits_the_servers() -> None:
    client = msgspec.toml.decode(CLIENT_EXAMPLE, type=ClientFile)
    server = msgspec.toml.decode(SERVER_EXAMPLE, type=ServerFile)
    assert client.key is not None
    assert client.key.salt == server.key.salt
    assert {forward.server for forward in client.forward} == {entry.name for entry in client.server}


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", README))))
def test_each_make_target_exists(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def test_it_says_first_how_to_see_and_to_check() -> None:
    first_screen = "\n".join(README.splitlines()[:24])
    assert "make demo" in first_screen
    assert "make test" in first_screen
