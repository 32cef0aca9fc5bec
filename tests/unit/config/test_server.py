from pathlib import Path

import pytest

from hyperion.config import (
    Admin,
    Endpoint,
    FirewallSettings,
    KnockSettings,
    Secrets,
    ServerConfig,
    load_server,
    read_server,
    resolve_server,
)
from hyperion.errors import BadKeyError, ConfigError
from hyperion.proto.keys import PrivateKey, Psk
from tests.helpers.config_files import ADMIN_SECRET, PASSPHRASE, PSK_TEXT, SERVER_SECRET, leaks, server_text


def load(directory: Path, *changes: tuple[str, str]) -> ServerConfig:
    text = server_text(directory)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = directory / "server.toml"
    path.write_text(text)
    return load_server(path, Secrets(None, {}))


def refusal(directory: Path, *changes: tuple[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(directory, *changes)
    assert not leaks(str(caught.value))
    return str(caught.value).removeprefix(f"{directory / 'server.toml'}: ")


def test_defaults(tmp_path: Path) -> None:
    assert load(tmp_path) == ServerConfig(
        path=tmp_path / "server.toml",
        listen=Endpoint("127.0.0.1", 8443),
        psk=Psk.parse(PSK_TEXT),
        identity=SERVER_SECRET,
        admins=(Admin(ADMIN_SECRET.public().fingerprint, ADMIN_SECRET.public(), frozenset({22, 5432})),),
        egress=frozenset({22, 5432}),
        handshake_timeout=3.0,
        knock=KnockSettings(enabled=False, port=8443, window=30),
        firewall=FirewallSettings(table="hyperion", set_name="knock_allow", ttl=60),
    )


def test_egress_is_deny_all_unless_listed(tmp_path: Path) -> None:
    assert load(tmp_path, ("allow = [22, 5432]", "")).egress == frozenset()


@pytest.mark.parametrize(
    ("section", "attribute", "expected"),
    [
        ("[limits]\nhandshake_timeout_ms = 1500", "handshake_timeout", 1.5),
        ("[knock]\nenabled = true", "knock", KnockSettings(enabled=True, port=8443, window=30)),
        ("[knock]\nknock_port = 9", "knock", KnockSettings(enabled=False, port=9, window=30)),
        ("[knock]\nwindow_secs = 5", "knock", KnockSettings(enabled=False, port=8443, window=5)),
        ("[firewall]\ntable = 't'", "firewall", FirewallSettings(table="t", set_name="knock_allow", ttl=60)),
        ("[firewall]\nset = 's'", "firewall", FirewallSettings(table="hyperion", set_name="s", ttl=60)),
        ("[firewall]\nttl_secs = 9", "firewall", FirewallSettings(table="hyperion", set_name="knock_allow", ttl=9)),
    ],
)
def test_every_key_has_an_effect(tmp_path: Path, section: str, attribute: str, expected: object) -> None:
    assert getattr(load(tmp_path, ("[egress]", f"{section}\n[egress]")), attribute) == expected


@pytest.mark.parametrize("listen", ["0.0.0.0:1", "[::1]:8443", "tunnel.example.com:8443"])
def test_listen(tmp_path: Path, listen: str) -> None:
    assert str(load(tmp_path, ("127.0.0.1:8443", listen)).listen) == listen


def test_the_same_admin_twice_counts_once(tmp_path: Path) -> None:
    key = str(ADMIN_SECRET.public())
    admins = load(tmp_path, (f'["{key}"]', f'["{key}", " {key} "]')).admins
    assert [admin.key for admin in admins] == [ADMIN_SECRET.public()]


def test_addresses(tmp_path: Path) -> None:
    assert refusal(tmp_path, ("127.0.0.1:8443", "127.0.0.1:0")) == (
        'listen: expected HOST:PORT or [IPV6]:PORT, got "127.0.0.1:0" (the port is not between 1 and 65535)'
    )
    assert refusal(tmp_path, ("127.0.0.1:8443", PSK_TEXT)) == (
        "listen: expected HOST:PORT or [IPV6]:PORT, got a text of 44 characters (there is no port)"
    )


def test_somebody_must_be_let_in(tmp_path: Path) -> None:
    key = str(ADMIN_SECRET.public())
    expected = "[identity] admin_pubkeys: expected at least one public key, got an empty list"
    assert refusal(tmp_path, (f'["{key}"]', "[]")) == expected
    assert refusal(tmp_path, (f'admin_pubkeys = ["{key}"]', "")) == expected


def test_a_bad_admin_key_is_named_by_its_place(tmp_path: Path) -> None:
    key = str(ADMIN_SECRET.public())
    assert refusal(tmp_path, (f'["{key}"]', f'["{key}", "{PSK_TEXT[:-1]}"]')) == (
        "[identity] admin_pubkeys #2: expected a public key of 32 bytes in base64, "
        "got a text that is not one (not canonical base64)"
    )


def test_order_of_loading(tmp_path: Path) -> None:
    """Configuration, PSK, key file, admins: mended one after the other, the errors come in this order."""
    bad = {
        "listen": ("127.0.0.1:8443", "nowhere"),
        "[key] value": (PSK_TEXT, "x"),
        "key file": ("server.key", "none.key"),
        "admin_pubkeys": (str(ADMIN_SECRET.public()), "x"),
    }
    for count, name in enumerate(bad):
        with pytest.raises((ConfigError, BadKeyError), match=name.replace("[", r"\[")):
            load(tmp_path, *list(bad.values())[count:])


def test_a_reload_finds_the_passphrase_again(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    text = server_text(tmp_path).replace('source = "value"', 'source = "passphrase"\nsalt = "saltsalt"')
    path.write_text(text)
    environ = {"HYPERION_PASSPHRASE": PASSPHRASE}
    secrets = Secrets(None, environ)
    first = load_server(path, secrets)
    assert environ == {}
    assert load_server(path, secrets) == first
    path.write_text(text.replace("saltsalt", "newsaltnewsalt"))
    assert load_server(path, secrets).psk == Psk.from_passphrase(PASSPHRASE, "newsaltnewsalt")


def test_read_and_resolve_are_two_steps(tmp_path: Path) -> None:
    path = tmp_path / "server.toml"
    path.write_text(server_text(tmp_path))
    raw = read_server(path)
    (tmp_path / "server.key").unlink()
    assert raw.listen == "127.0.0.1:8443"
    with pytest.raises(BadKeyError, match="no key file"):
        resolve_server(path, raw, Secrets(None, {}))


def test_nothing_shows_the_secrets(tmp_path: Path) -> None:
    config = load(tmp_path)
    raw = read_server(config.path)
    assert not leaks(f"{config} {config!r} {raw} {raw!r} {raw.key!r}")
    assert config.identity == PrivateKey(b"\x22" * 32)
