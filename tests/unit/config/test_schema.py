"""Every default, and that the original's documentation can be followed to the letter."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from hyperion.config import Secrets, load_client, load_server, read_client, read_server
from hyperion.config.schema import ClientFile, ServerFile
from hyperion.errors import ConfigError
from tests.helpers.config_files import ADMIN_SECRET, PASSPHRASE, SERVER_SECRET, write_key

EXAMPLES = Path(__file__).parents[3] / "deploy" / "config"

# The quick start of the original, with keys filled in.
README_SERVER = f"""
listen = "127.0.0.1:8443"

[key]
source = "passphrase"
salt   = "our-own-shared-salt"      # same on client and server

[identity]
static_key_file = "server.key"
admin_pubkeys   = ["{ADMIN_SECRET.public()}"]

[egress]
allow = [22] # deny-all by default; list each port (server dials its own loopback)
"""
README_PRODUCTION = """
[knock]
enabled     = true
window_secs = 30
[firewall]
table    = "hyperion"
set      = "knock_allow"
ttl_secs = 60
"""
README_CLIENT = f"""
admin_static_key_file = "admin.key"

[key]
source = "passphrase"
salt   = "our-own-shared-salt"      # MUST match the server

[[server]]
name          = "srvA"
addr          = "127.0.0.1:8443"
server_pubkey = "{SERVER_SECRET.public()}"

[[forward]]
local       = "127.0.0.1:2201"
server      = "srvA"
remote_port = 22
"""


def test_the_quick_start_of_the_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_key(tmp_path / "server.key", SERVER_SECRET)
    write_key(tmp_path / "admin.key", ADMIN_SECRET)
    Path("server.toml").write_text(README_SERVER + README_PRODUCTION)
    Path("client.toml").write_text(README_CLIENT + "[knock]\nenabled = true\n")
    server = load_server(Path("server.toml"), Secrets(lambda _: PASSPHRASE, {}))
    client = load_client(Path("client.toml"), Secrets(lambda _: PASSPHRASE, {}))
    assert server.psk == client.servers[0].psk
    assert server.egress == {22}
    assert server.knock.enabled
    assert client.knock.enabled


def test_defaults_of_the_server() -> None:
    raw = msgspec.convert(tomllib.loads(README_SERVER), ServerFile)
    assert raw.limits.handshake_timeout_ms == 3000
    assert (raw.knock.enabled, raw.knock.knock_port, raw.knock.window_secs) == (False, None, 30)
    assert (raw.firewall.table, raw.firewall.set, raw.firewall.ttl_secs) == ("hyperion", "knock_allow", 60)


def test_defaults_of_the_client() -> None:
    raw = msgspec.convert({"admin_static_key_file": "a"}, ClientFile)
    assert (raw.pool_size, raw.key, raw.server, raw.forward) == (2, None, [], [])
    assert (raw.knock.enabled, raw.knock.port) == (False, None)
    assert (raw.tun.addr, raw.tun.prefix, raw.tun.mtu) == ("10.99.0.1", 24, 65_535)


def test_a_section_shows_no_secret() -> None:
    raw = msgspec.convert(tomllib.loads(README_SERVER), ServerFile)
    assert "our-own" not in repr(raw)


def test_the_shipped_examples_are_refused_until_they_are_edited(tmp_path: Path) -> None:
    """Placeholder after placeholder is named; only the last edit makes a file that loads."""
    secrets = Secrets(None, {"HYPERION_PASSPHRASE": PASSPHRASE})
    server = (EXAMPLES / "server.toml").read_text()
    client = (EXAMPLES / "hyperion.toml").read_text()
    server_path, client_path = tmp_path / "server.toml", tmp_path / "hyperion.toml"
    server = server.replace("/etc/hyperion/server.key", str(write_key(tmp_path / "s.key", SERVER_SECRET)))
    client = client.replace("~/.config/hyperion/admin.key", str(write_key(tmp_path / "a.key", ADMIN_SECRET)))

    for edit, key in [(None, "salt"), (("change-me-shared-salt", "our-own-salt"), "admin_pubkeys #1")]:
        server = server.replace(*edit) if edit else server
        server_path.write_text(server)
        with pytest.raises(ConfigError, match=rf"{key}: expected .*, got the placeholder of the example"):
            load_server(server_path, secrets)
    server_path.write_text(server.replace("<ADMIN_PUBLIC_KEY>", str(ADMIN_SECRET.public())))
    assert load_server(server_path, secrets).egress == {22}

    for edit, key in [(None, "server_pubkey"), (("<SERVER_PUBLIC_KEY>", str(SERVER_SECRET.public())), "salt")]:
        client = client.replace(*edit) if edit else client
        client_path.write_text(client)
        with pytest.raises(ConfigError, match=rf"{key}: expected .*, got the placeholder of the example"):
            load_client(client_path, secrets)
    client_path.write_text(client.replace("change-me-shared-salt", "our-own-salt"))
    assert load_client(client_path, secrets).servers[0].name == "web1"


def test_the_shipped_examples_name_every_key() -> None:
    for name, read, file in (("server", read_server, ServerFile), ("hyperion", read_client, ClientFile)):
        text = (EXAMPLES / f"{name}.toml").read_text()
        read(EXAMPLES / f"{name}.toml")
        for field in msgspec.structs.fields(file):
            assert field.encode_name in text
