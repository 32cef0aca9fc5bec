"""Configuration files that are right, for tests to use or to spoil. All secrets in them are recognisable."""

import base64
from pathlib import Path

from hyperion.proto.keys import PrivateKey

SERVER_SECRET = PrivateKey(b"\x22" * 32)
ADMIN_SECRET = PrivateKey(b"\x11" * 32)
#: Text forms of secrets that must never be shown: see ``leaks``.
PSK_TEXT = base64.b64encode(b"canary-psk-canary-psk-canary-psk").decode()
PASSPHRASE = "canary-passphrase"

CANARIES = (PSK_TEXT, PASSPHRASE, SERVER_SECRET.format(), ADMIN_SECRET.format())


def leaks(text: str) -> list[str]:
    """Which canaries ``text`` shows, whole or in part."""
    return [canary for canary in CANARIES if canary[4:16] in text]


def write_key(path: Path, key: PrivateKey) -> Path:
    """A key file as it should be."""
    path.write_text(key.format() + "\n")
    path.chmod(0o600)
    return path


def server_text(directory: Path) -> str:
    """A ``server.toml`` that loads; its key file is written to ``directory``."""
    key_file = write_key(directory / "server.key", SERVER_SECRET)
    return f"""\
listen = "127.0.0.1:8443"

[key]
source = "value"
value = "{PSK_TEXT}"

[identity]
static_key_file = "{key_file.as_posix()}"
admin_pubkeys = ["{ADMIN_SECRET.public()}"]

[egress]
allow = [22, 5432]
"""


def client_text(directory: Path) -> str:
    """A ``hyperion.toml`` that loads, with servers ``web1`` and ``db1``; its key file is written to ``directory``."""
    key_file = write_key(directory / "admin.key", ADMIN_SECRET)
    return f"""\
admin_static_key_file = "{key_file.as_posix()}"

[key]
source = "value"
value = "{PSK_TEXT}"

[[server]]
name = "web1"
addr = "192.0.2.1:8443"
server_pubkey = "{SERVER_SECRET.public()}"

[[server]]
name = "db1"
addr = "db1.example.com:443"
server_pubkey = "{SERVER_SECRET.public()}"

[[forward]]
local = "127.0.0.1:2201"
server = "web1"
remote_port = 22
"""
