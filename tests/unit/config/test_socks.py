"""SOCKS listeners of the file and of the command line."""

from pathlib import Path

import pytest

from hyperion.config import Endpoint, Secrets, SocksEntry, load_client
from hyperion.config.forward import add_forwards, parse_forward
from hyperion.config.socks import add_socks, is_loopback, parse_socks
from hyperion.errors import ConfigError, UsageError
from tests.helpers.config_files import client_text


def written(directory: Path, socks: str) -> Path:
    path = directory / "hyperion.toml"
    path.write_text(client_text(directory) + socks, encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("1080", "127.0.0.1", 1080),
        ("0", "127.0.0.1", 0),
        ("127.0.0.2:1080", "127.0.0.2", 1080),
        ("localhost:1080", "localhost", 1080),
        ("[::1]:1080", "::1", 1080),
    ],
)
def test_what_may_be_written(text: str, host: str, port: int) -> None:
    assert parse_socks(text) == SocksEntry(Endpoint(host, port))


@pytest.mark.parametrize("text", ["0.0.0.0:1080", "192.0.2.1:1080", "[::]:1080", "example.com:1080"])
def test_other_hosts_only_when_it_is_said(text: str) -> None:
    with pytest.raises(UsageError, match="other hosts could use your tunnels") as caught:
        parse_socks(text)
    assert "--gateway-ports" in str(caught.value.hint)
    assert str(parse_socks(text, gateway_ports=True).listen) == text


@pytest.mark.parametrize("text", ["", "x", "65536", "-1", "::1:1080", "a b:1", "127.0.0.1:", ":"])
def test_what_is_no_listener(text: str) -> None:
    with pytest.raises(UsageError, match=r"^-D "):
        parse_socks(text)


def test_the_file(tmp_path: Path) -> None:
    text = '[[socks]]\nlisten = "127.0.0.1:1080"\n[[socks]]\nlisten = "0.0.0.0:1081"\ngateway_ports = true\n'
    config = load_client(written(tmp_path, text), Secrets(None))
    assert [str(entry.listen) for entry in config.socks] == ["127.0.0.1:1080", "0.0.0.0:1081"]
    more = add_socks(config, [parse_socks("0"), parse_socks("0")])
    assert len(more.socks) == 4
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:1080 is used twice"):
        add_socks(config, [parse_socks("1080")])
    with pytest.raises(UsageError, match=r"a forward listens on 127\.0\.0\.1:2201"):
        add_socks(config, [parse_socks("2201")])
    with pytest.raises(UsageError, match=r"127\.0\.0\.1:1080 is where SOCKS listens"):
        add_forwards(config, [parse_forward("1080:web1:80")])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[socks]]\nlisten = "0.0.0.0:1080"\n', "[[socks]] #1 listen: expected a loopback address"),
        ('[[socks]]\nlisten = "1080"\n', "[[socks]] #1 listen"),
        ('[[socks]]\nlisten = "127.0.0.1:1080"\nport = 1\n', "[[socks]] #1: expected one of the keys"),
        ('[[socks]]\nlisten = "127.0.0.1:2201"\n', "a second time"),
        ('[[socks]]\nlisten = "localhost:1"\n[[socks]]\nlisten = "LOCALHOST:1"\n', "a second time"),
    ],
)
def test_a_file_that_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_client(written(tmp_path, text), Secrets(None))
    assert words in caught.value.message, caught.value.message


def test_what_only_this_machine_reaches() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost.")] == [True] * 5
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "localhost.example.com")] == [False] * 4
