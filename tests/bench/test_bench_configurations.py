"""The configurations the bench writes are ones hyperion reads."""

import base64
from pathlib import Path

from bench.peers import write_private
from bench.tunnel import Options, client_config, server_config
from hyperion.config import Secrets, load_client, load_server

KEY = base64.b64encode(bytes(range(1, 33))).decode()


def test_server(tmp_path: Path) -> None:
    for name in ("psk", "server.key"):
        write_private(tmp_path / name, f"{KEY}\n")
    path = write_private(tmp_path / "server.toml", server_config(tmp_path, 8443, KEY, [22, 80]))
    config = load_server(path, Secrets(None))
    assert config.listen.port == 8443
    assert config.egress == {22, 80}


def test_client(tmp_path: Path) -> None:
    write_private(tmp_path / "admin.key", f"{KEY}\n")
    text = client_config(tmp_path, 8443, KEY, KEY, Options(servers=("one", "two"), pool_size=5))
    config = load_client(write_private(tmp_path / "client.toml", text), Secrets(None))
    assert [(server.name, server.pool_size) for server in config.servers] == [("one", 5), ("two", 5)]
