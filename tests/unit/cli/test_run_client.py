import os
import sys
from pathlib import Path

import pytest

from hyperion import log
from hyperion.cli.run_client import run_client, show_forwards
from hyperion.cli.start import Start
from hyperion.config import ClientConfig, Endpoint, ForwardEntry, Secrets
from hyperion.errors import HyperionError, UsageError
from hyperion.proto.control import LogSettings
from hyperion.service_user import ServiceUser
from hyperion.supervisor.client import ClientOptions
from tests.helpers.config_files import client_text


class Recorder:
    """Stands where the supervisor would be."""

    def __init__(self) -> None:
        self.started = 0
        self.logs = False

    def __call__(self, config: ClientConfig, options: ClientOptions) -> int:
        self.config, self.options = config, options
        self.started += 1
        self.logs = log.enabled("info") and not log.enabled("debug")
        return 42


def start(path: Path, serve: Recorder, *forwards: str) -> int:
    return run_client(path, forwards, drain_timeout=5.0, log_format="json", log_level="info", serve=serve)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "hyperion.toml"
    path.write_text(client_text(tmp_path))
    return path


def test_what_the_supervisor_is_given(config: Path) -> None:
    serve = Recorder()
    assert start(config, serve, "8080:web1:80", "db1:5432") == 42
    assert serve.config.forwards == (
        ForwardEntry(Endpoint("127.0.0.1", 2201), "web1", 22),
        ForwardEntry(Endpoint("127.0.0.1", 8080), "web1", 80),
        ForwardEntry(Endpoint("127.0.0.1", 0), "db1", 5432),
    )
    assert serve.options.drain_timeout == 5.0
    assert serve.options.log == LogSettings("json", "info")
    assert serve.logs
    assert not log.enabled("critical")


def test_forwards_of_the_command_line_are_enough(config: Path) -> None:
    text = config.read_text()
    config.write_text(text[: text.index("[[forward]]")])
    serve = Recorder()
    assert start(config, serve, "web1:22") == 42
    with pytest.raises(UsageError, match="nothing to forward"):
        start(config, serve)
    assert serve.started == 1


def test_a_slip_in_a_forward_is_told_before_anybody_is_asked_for_a_passphrase(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="-L x"):
        start(tmp_path / "none.toml", Recorder(), "x")


@pytest.mark.parametrize(("forwards", "only"), [(["1:web9:22"], []), ([], ["db1", "web9"])])
def test_an_unknown_server_is_told_before_anybody_is_asked(
    config: Path, monkeypatch: pytest.MonkeyPatch, forwards: list[str], only: list[str]
) -> None:
    asked: list[str] = []

    def person(question: str) -> str:
        asked.append(question)
        return "a long passphrase"

    text = config.read_text()
    config.write_text(text.replace('source = "value"', 'source = "passphrase"\nsalt = "salt-salt-salt"'))
    start = Start("client", config)
    monkeypatch.setattr(start, "secrets", Secrets(person, {}))
    serve = Recorder()
    with pytest.raises(UsageError, match="no server web9"):
        run_client(
            config,
            forwards,
            only=only,
            start=start,
            drain_timeout=5.0,
            log_format="json",
            log_level="info",
            serve=serve,
        )
    assert asked == []


def test_reload_keeps_the_forwards_of_the_command_line(config: Path) -> None:
    serve = Recorder()
    start(config, serve, "8080:db1:80")
    reload = serve.options.reload
    assert reload is not None
    config.write_text(config.read_text().replace("remote_port = 22", "remote_port = 23"))
    assert [forward.remote_port for forward in reload().forwards] == [23, 80]
    config.write_text(config.read_text().replace('"db1"', '"db2"'))
    with pytest.raises(HyperionError, match="no server db1"):
        reload()


def test_one_line_for_each_forward(capsys: pytest.CaptureFixture[str]) -> None:
    show_forwards([("127.0.0.1:40123", "web1", 22), ("[::1]:80", "db1", 5432)])
    assert capsys.readouterr().out == "forward 127.0.0.1:40123 -> web1:22\nforward [::1]:80 -> db1:5432\n"


def test_a_reader_that_has_seen_enough_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        show_forwards([("127.0.0.1:1", "web1", 22), ("127.0.0.1:2", "web1", 23)])
        show_forwards([("127.0.0.1:1", "web1", 22)])


def test_who_runs_it_if_root_starts_it(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def find(*words: object, **more: object) -> ServiceUser:
        asked.append((*words, *more.values()))
        return ServiceUser("bob", 7, 7, (7,))

    monkeypatch.setattr("hyperion.cli.run_client.find_service_user", find)
    monkeypatch.setenv("HYPERION_HOME", str(config.parent / "home"))
    serve = Recorder()
    start(config, serve)
    assert serve.options.user == ServiceUser("bob", 7, 7, (7,))
    # The owner first, and it must get to where the runtime directory will be.
    assert asked == [(None, "hyperion-client", config, True, [config.parent])]
    run_client(config, (), user="bob", drain_timeout=5.0, log_format="json", log_level="info", serve=serve)
    assert asked[1][0] == "bob"
