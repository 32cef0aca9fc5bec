from pathlib import Path

import pytest

from hyperion.config import ClientConfig, Endpoint, ForwardEntry, Secrets, load_client
from hyperion.config.forward import add_forwards, parse_forward, require_server
from hyperion.errors import UsageError
from tests.helpers.config_files import client_text


@pytest.fixture
def config(tmp_path: Path) -> ClientConfig:
    path = tmp_path / "hyperion.toml"
    path.write_text(client_text(tmp_path))
    return load_client(path, Secrets(None, {}))


@pytest.mark.parametrize(
    ("text", "port", "server", "remote"),
    [("8080:web1:80", 8080, "web1", 80), ("0:web1:80", 0, "web1", 80), ("web1:22", 0, "web1", 22)],
)
def test_notation(text: str, port: int, server: str, remote: int) -> None:
    assert parse_forward(text) == ForwardEntry(Endpoint("127.0.0.1", port), server, remote)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected LPORT:SERVER:RPORT or SERVER:RPORT"),
        ("8080", "expected LPORT:SERVER:RPORT or SERVER:RPORT"),
        ("127.0.0.1:8080:web1:80", "expected LPORT:SERVER:RPORT or SERVER:RPORT"),
        ("8080:web1:0", "0 is not a port from 1 to 65535"),
        ("65536:web1:80", "65536 is not a port from 0 to 65535"),
        ("x:web1:80", "x is not a port"),
        ("8080:web1:", "nothing is not a port"),
        ("-1:web1:80", "-1 is not a port"),
        ("8080:web1:\u0661", "is not a port"),
    ],
)
def test_bad_notation(text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_forward(text)


def test_they_come_after_those_of_the_file(config: ClientConfig) -> None:
    extra = [parse_forward("8080:web1:80"), parse_forward("db1:5432"), parse_forward("db1:5432")]
    assert add_forwards(config, extra).forwards == (*config.forwards, *extra)


@pytest.mark.parametrize("texts", [["2201:db1:22"], ["80:web1:1", "80:web1:2"]])
def test_an_address_used_twice(config: ClientConfig, texts: list[str]) -> None:
    with pytest.raises(UsageError, match="is used by two forwards"):
        add_forwards(config, [parse_forward(text) for text in texts])


def test_an_unknown_server(config: ClientConfig) -> None:
    with pytest.raises(UsageError, match="no server wbe1 in") as caught:
        add_forwards(config, [parse_forward("wbe1:22")])
    assert caught.value.hint == "did you mean web1?"
    with pytest.raises(UsageError) as caught:
        require_server(config, "zzz")
    assert caught.value.hint == "hyperion-client ls shows the names"
    require_server(config, "db1")
