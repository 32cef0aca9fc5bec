from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hyperion.config import Endpoint, ForwardEntry, read_client
from hyperion.config.outline import ClientOutline, ServerOutline, outline_client
from hyperion.errors import ConfigError
from tests.helpers.config_files import SERVER_SECRET, client_text


def outline(directory: Path, *changes: tuple[str, str]) -> ClientOutline:
    text = client_text(directory)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = directory / "hyperion.toml"
    path.write_text(text)
    return outline_client(path, read_client(path))


def test_all_that_is_no_secret(tmp_path: Path) -> None:
    public = SERVER_SECRET.public()
    found = outline(tmp_path)
    assert found.servers == (
        ServerOutline("web1", Endpoint("192.0.2.1", 8443), public, 2, IPv4Address("10.99.0.10")),
        ServerOutline("db1", Endpoint("db1.example.com", 443), public, 2, IPv4Address("10.99.0.11")),
    )
    assert found.forwards == (ForwardEntry(Endpoint("127.0.0.1", 2201), "web1", 22),)
    assert found.tun.address == IPv4Address("10.99.0.1")


def test_neither_key_file_nor_psk_is_needed(tmp_path: Path) -> None:
    found = outline(tmp_path, ("admin.key", "none.key"), ('source = "value"', 'source = "env"\nenv_var = "NOT_SET"'))
    assert [server.name for server in found.servers] == ["web1", "db1"]


def test_what_cannot_be_meant(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a name of its own"):
        outline(tmp_path, ('"db1"', '"web1"'))


@pytest.mark.parametrize("spelling", ["WEB1", "web1.hyperion", "Web1.Hyperion", "web1."])
def test_two_spellings_of_one_name(tmp_path: Path, spelling: str) -> None:
    """``nc`` and the hosts file could lead to either."""
    with pytest.raises(ConfigError, match=r"a name of its own, got .*, which is also \"web1\""):
        outline(tmp_path, ('"db1"', f'"{spelling}"'))
