from pathlib import Path

import pytest

from hyperion.config import Secrets, load_client
from hyperion.config.selection import only_servers
from hyperion.errors import UsageError
from tests.helpers.config_files import client_text


def test_only_some(tmp_path: Path) -> None:
    path = tmp_path / "hyperion.toml"
    path.write_text(client_text(tmp_path))
    config = load_client(path, Secrets(None, {}))
    assert only_servers(config, []) is config
    db1 = only_servers(config, ["db1"])
    assert [server.name for server in db1.servers] == ["db1"]
    assert db1.forwards == ()
    both = only_servers(config, ["db1", "web1", "db1"])
    assert both == config
    with pytest.raises(UsageError, match="no server web2") as failure:
        only_servers(config, ["web2"])
    assert failure.value.hint == "did you mean web1?"
