from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hyperion.config import (
    ClientConfig,
    Endpoint,
    ForwardEntry,
    KnockSettings,
    Secrets,
    ServerEntry,
    TunSettings,
    load_client,
    read_client,
)
from hyperion.config.name import NAME_RULE
from hyperion.errors import BadKeyError, ConfigError
from hyperion.proto.keys import Psk
from tests.helpers.config_files import ADMIN_SECRET, PASSPHRASE, PSK_TEXT, SERVER_SECRET, client_text, leaks

KEY_SECTION = f'[key]\nsource = "value"\nvalue = "{PSK_TEXT}"\n'
OTHER_PSK = Psk(b"other-psk-other-psk-other-psk-ot")
FORWARD = '\n[[forward]]\nlocal = "{}"\nserver = "web1"\nremote_port = 22\n'


def load(directory: Path, *changes: tuple[str, str], environ: dict[str, str] | None = None) -> ClientConfig:
    text = client_text(directory)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = directory / "hyperion.toml"
    path.write_text(text)
    return load_client(path, Secrets(None, {} if environ is None else environ))


def refusal(directory: Path, *changes: tuple[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(directory, *changes)
    assert not leaks(str(caught.value))
    return str(caught.value).removeprefix(f"{directory / 'hyperion.toml'}: ")


def test_defaults(tmp_path: Path) -> None:
    psk, public = Psk.parse(PSK_TEXT), SERVER_SECRET.public()
    assert load(tmp_path) == ClientConfig(
        path=tmp_path / "hyperion.toml",
        identity=ADMIN_SECRET,
        servers=(
            ServerEntry("web1", Endpoint("192.0.2.1", 8443), public, psk, 2, IPv4Address("10.99.0.10")),
            ServerEntry("db1", Endpoint("db1.example.com", 443), public, psk, 2, IPv4Address("10.99.0.11")),
        ),
        forwards=(ForwardEntry(Endpoint("127.0.0.1", 2201), "web1", 22),),
        knock=KnockSettings(enabled=False, port=None, window=0),
        tun=TunSettings(IPv4Address("10.99.0.1"), 24, 65_535),
    )


def test_other_sections(tmp_path: Path) -> None:
    more = "[knock]\nenabled = true\nport = 9\n[tun]\naddr = '10.1.0.1'\nprefix = 16\nmtu = 9000\n"
    config = load(tmp_path, ("[key]", f"{more}[key]"))
    assert config.knock == KnockSettings(enabled=True, port=9, window=0)
    assert config.tun == TunSettings(IPv4Address("10.1.0.1"), 16, 9000)


def test_pool_size_of_the_server_then_of_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, ("[key]", "pool_size = 5\n[key]"), ('name = "db1"', 'name = "db1"\npool_size = 64'))
    assert [server.pool_size for server in config.servers] == [5, 64]


def test_psk_of_a_server(tmp_path: Path) -> None:
    """Its own variable, else its own value, else the shared one; the shared one is not needed if all have theirs."""
    own = f'name = "web1"\nkey_value = "{OTHER_PSK.format()}"'
    assert [s.psk for s in load(tmp_path, ('name = "web1"', own)).servers] == [OTHER_PSK, Psk.parse(PSK_TEXT)]
    environ = {"DB1_PSK": PSK_TEXT}
    both = f'name = "db1"\nkey_env = "DB1_PSK"\nkey_value = "{OTHER_PSK.format()}"'
    config = load(tmp_path, (KEY_SECTION, ""), ('name = "web1"', own), ('name = "db1"', both), environ=environ)
    assert [server.psk for server in config.servers] == [OTHER_PSK, Psk.parse(PSK_TEXT)]
    assert environ == {}


def test_a_passphrase_that_nobody_needs_is_not_asked_for(tmp_path: Path) -> None:
    own = f'server_pubkey = "{SERVER_SECRET.public()}"\nkey_value = "{PSK_TEXT}"'
    key = '[key]\nsource = "passphrase"\nsalt = "saltsalt"\n'
    config = load(tmp_path, (KEY_SECTION, key), (f'server_pubkey = "{SERVER_SECRET.public()}"', own))
    assert len(config.servers) == 2


def test_one_variable_serves_many_servers(tmp_path: Path) -> None:
    shared = f'server_pubkey = "{SERVER_SECRET.public()}"\nkey_env = "FLEET"'
    changes = (KEY_SECTION, ""), (f'server_pubkey = "{SERVER_SECRET.public()}"', shared)
    config = load(tmp_path, *changes, environ={"FLEET": PSK_TEXT})
    assert {server.psk.raw for server in config.servers} == {Psk.parse(PSK_TEXT).raw}


def test_no_psk_at_all(tmp_path: Path) -> None:
    assert refusal(tmp_path, (KEY_SECTION, "")) == (
        "key: expected a section [key], or key_env or key_value in each [[server]], got neither"
    )


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"db1"', '"web1"', '[[server]] #2 name: expected a name of its own, got "web1" a second time'),
        (
            '"db1"',
            '"d/b"',
            f'[[server]] #2 name: expected {NAME_RULE}, got "d/b"',
        ),
        (
            "db1.example.com:443",
            "db1.example.com",
            '[[server]] #2 addr: expected HOST:PORT or [IPV6]:PORT, got "db1.example.com" (there is no port)',
        ),
        ('server = "web1"', 'server = "web2"', '[[forward]] #1 server: expected the name of a [[server]], got "web2"'),
        (
            "127.0.0.1:2201",
            "2201",
            '[[forward]] #1 local: expected HOST:PORT or [IPV6]:PORT, got "2201" (there is no port)',
        ),
        ("[key]", '[tun]\naddr = "::1"\n[key]', '[tun] addr: expected an IPv4 address, got "::1"'),
        (
            'name = "db1"',
            'name = "db1"\nvirtual_ip = "10.99.0.256"',
            '[[server]] #2 virtual_ip: expected an IPv4 address, got "10.99.0.256"',
        ),
        (
            'name = "db1"',
            'name = "db1"\nvirtual_ip = "10.99.0.1"',
            "[[server]] #2 virtual_ip: expected an address of its own, got 10.99.0.1, which is taken",
        ),
        (
            f'"{SERVER_SECRET.public()}"',
            '"<SERVER_PUBLIC_KEY>"',
            "[[server]] #1 server_pubkey: expected a public key, got the placeholder of the example",
        ),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert refusal(tmp_path, (old, new)) == expected


def test_virtual_addresses_of_its_own_are_kept(tmp_path: Path) -> None:
    one = ('name = "web1"', 'name = "web1"\nvirtual_ip = "10.99.0.10"')
    config = load(tmp_path, one, ('name = "db1"', 'name = "db1"\nvirtual_ip = "192.168.1.1"'))
    assert [str(server.virtual_ip) for server in config.servers] == ["10.99.0.10", "192.168.1.1"]
    assert refusal(tmp_path, one, ('name = "db1"', 'name = "db1"\nvirtual_ip = "10.99.0.10"')).endswith(
        "got 10.99.0.10, which is taken"
    )


def test_virtual_addresses_are_given_round_those_that_are_asked_for(tmp_path: Path) -> None:
    config = load(tmp_path, ('name = "db1"', 'name = "db1"\nvirtual_ip = "10.99.0.10"'))
    assert [str(server.virtual_ip) for server in config.servers] == ["10.99.0.11", "10.99.0.10"]


def test_a_subnet_without_room(tmp_path: Path) -> None:
    assert refusal(tmp_path, ("[key]", "[tun]\nprefix = 30\n[key]")) == (
        "[[server]] #1 virtual_ip: expected an address, got nothing, and no address is left in 10.99.0.1/30"
    )


@pytest.mark.parametrize("local", ["127.0.0.1:2201", "localhost:80", "[::1]:80"])
def test_two_forwards_cannot_share_an_address(tmp_path: Path, local: str) -> None:
    twice = ("[[forward]]", f"{FORWARD.format(local)}{FORWARD.format(local.upper())}\n[[forward]]")
    assert "expected an address of its own, got" in refusal(tmp_path, twice)


def test_any_number_of_forwards_may_take_a_free_port(tmp_path: Path) -> None:
    config = load(tmp_path, ("[[forward]]", FORWARD.format("127.0.0.1:0") * 2 + "\n[[forward]]"))
    assert len(config.forwards) == 3


def test_order_of_loading(tmp_path: Path) -> None:
    bad = {"addr": ("192.0.2.1:8443", "nowhere"), "value": (PSK_TEXT, "x"), "no key file": ("admin.key", "none.key")}
    for count, name in enumerate(bad):
        with pytest.raises((ConfigError, BadKeyError), match=name):
            load(tmp_path, *list(bad.values())[count:])


def test_nothing_shows_the_secrets(tmp_path: Path) -> None:
    config = load(tmp_path, ('name = "db1"', f'name = "db1"\nkey_value = "{PSK_TEXT}"'))
    raw = read_client(config.path)
    assert not leaks(f"{config} {config!r} {raw} {raw!r} {raw.key!r}")
    assert PASSPHRASE not in repr(config)
