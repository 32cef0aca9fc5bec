import dataclasses
from pathlib import Path

import pytest

from hyperion.config import ClientConfig, Secrets, load_client
from tests.helpers.config_files import client_text, leaks


@pytest.fixture
def config(tmp_path: Path) -> ClientConfig:
    path = tmp_path / "hyperion.toml"
    path.write_text(client_text(tmp_path))
    return load_client(path, Secrets(None, {}))


def test_a_reload_can_tell_what_changed(config: ClientConfig) -> None:
    again = load_client(config.path, Secrets(None, {}))
    assert config == again
    config.path.write_text(config.path.read_text().replace("192.0.2.1", "192.0.2.2"))
    changed = load_client(config.path, Secrets(None, {}))
    assert [old == new for old, new in zip(config.servers, changed.servers, strict=True)] == [False, True]


def test_settings_do_not_change(config: ClientConfig) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.servers[0].name = "other"  # type: ignore[misc]


def test_settings_show_no_secret(config: ClientConfig) -> None:
    assert not leaks(repr(config))
    with pytest.raises(TypeError, match="not pickled"):
        dataclasses.asdict(config)  # copies deeply, and would scatter the secrets
