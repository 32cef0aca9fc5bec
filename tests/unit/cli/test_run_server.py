import resource
from pathlib import Path

import pytest

from hyperion import log
from hyperion.cli.run_server import run_server
from hyperion.config import ServerConfig
from hyperion.errors import BadKeyError, ChildError, ConfigError
from hyperion.proto.control import LogSettings
from hyperion.proto.keys import Psk
from hyperion.supervisor.server import ServerOptions
from tests.helpers.config_files import PASSPHRASE, server_text


def start(path: Path, serve: "Recorder") -> int:
    return run_server(path, workers=3, drain_timeout=5.0, log_format="json", log_level="warning", serve=serve)


class Recorder:
    """Stands where the supervisor would be."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.started = 0
        self.logs = False

    def __call__(self, config: ServerConfig, options: ServerOptions) -> int:
        self.config, self.options = config, options
        self.started += 1
        self.logs = log.enabled("warning") and not log.enabled("info")
        if self.error is not None:
            raise self.error
        return 42


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "server.toml"
    path.write_text(server_text(tmp_path))
    return path


def test_what_the_supervisor_is_given(config: Path) -> None:
    serve = Recorder()
    assert start(config, serve) == 42
    assert serve.config.path == config
    assert (serve.options.workers, serve.options.drain_timeout) == (3, 5.0)
    assert serve.options.log == LogSettings("json", "warning")


def test_the_log_runs_while_it_serves(config: Path) -> None:
    serve = Recorder(ChildError("no worker is left"))
    with pytest.raises(ChildError):
        start(config, serve)
    assert serve.logs
    assert not log.enabled("critical")


def test_no_core_dumps(config: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (before[1], before[1]))
    start(config, Recorder())
    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)


def test_nothing_starts_with_a_bad_file(config: Path) -> None:
    serve = Recorder()
    config.write_text(config.read_text().replace("8443", "0"))
    with pytest.raises(ConfigError):
        start(config, serve)
    assert serve.started == 0


def test_reload(config: Path) -> None:
    serve = Recorder()
    start(config, serve)
    reload = serve.options.reload
    assert reload is not None
    config.write_text(config.read_text().replace("[22, 5432]", "[80]"))
    assert reload().egress == {80}
    config.write_text(config.read_text().replace("[80]", "[0]"))
    with pytest.raises(ConfigError):
        reload()


def test_reload_has_the_passphrase_and_asks_nobody(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HYPERION_PASSPHRASE", PASSPHRASE)
    text = config.read_text().replace('source = "value"', 'source = "passphrase"\nsalt = "saltsalt"')
    config.write_text(text)
    serve = Recorder()
    start(config, serve)
    reload = serve.options.reload
    assert reload is not None
    assert reload().psk == Psk.from_passphrase(PASSPHRASE, "saltsalt")
    config.write_text(text.replace("[key]", '[key]\npassphrase_env = "OTHER"'))
    with pytest.raises(BadKeyError, match="variable OTHER is not set"):
        reload()
