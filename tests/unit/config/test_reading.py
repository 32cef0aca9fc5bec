from pathlib import Path

import pytest

from hyperion.config.reading import read_client, read_server
from hyperion.errors import ConfigError, ConfigMissingError
from tests.helpers.config_files import client_text, server_text


def test_the_server_s_file(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(server_text(tmp_path))
    raw = read_server(path)
    assert raw.listen == "127.0.0.1:8443"
    assert raw.egress.allow == [22, 5432]


def test_the_client_s_file(tmp_path: Path) -> None:
    path = tmp_path / "hyperion.toml"
    path.write_text(client_text(tmp_path))
    assert [server.name for server in read_client(path).server] == ["web1", "db1"]


def test_one_is_not_the_other(tmp_path: Path) -> None:
    path = tmp_path / "hyperion.toml"
    path.write_text(client_text(tmp_path))
    with pytest.raises(ConfigError, match="expected one of the keys"):
        read_server(path)
    with pytest.raises(ConfigMissingError):
        read_client(tmp_path / "none.toml")
