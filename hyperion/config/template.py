"""The files that ``init`` writes: complete, commented, and valid as they are. Pure: text only.

tomlkit writes the values, so that whatever a salt or a path holds arrives as it was given.
"""

from collections.abc import Sequence
from pathlib import Path

import tomlkit

from hyperion.config.endpoint import Endpoint
from hyperion.proto.keys import PublicKey

_SERVER = """\
# Configuration of hyperion-server. A key that does not exist is an error, not a default.

# Where the tunnel listens: an IP address (IPv6 in brackets) or a host name, and a TCP port.
listen = {listen}

[key]
# The key that servers and admins share, from a passphrase: asked for at the start, or read from this variable.
source = "passphrase"
passphrase_env = "HYPERION_PASSPHRASE"
# The same on all servers and clients. Not a secret.
salt = {salt}

[identity]
static_key_file = {key_file}
{admins}
[egress]
# The ports of this machine's own 127.0.0.1 that admins may reach. None unless listed.
allow = {allow}

[knock]
# A genuine knock opens the port to its sender; until then the firewall drops everything.
enabled = true
"""

_BARE_ADMIN = """\
# Who may come in.
admin_pubkeys = [{key}]
"""

_NAMED_ADMIN = """
# Who may come in. More of these may follow, each with ports of its own (allow) and an end (expires) if it needs them.
[[admin]]
name = {name}
pubkey = {key}
"""

_CLIENT = """\
# Configuration of hyperion-client. A key that does not exist is an error, not a default.

admin_static_key_file = {key_file}

[key]
# The key that servers and admins share, from a passphrase: asked for at the start, or read from this variable.
source = "passphrase"
passphrase_env = "HYPERION_PASSPHRASE"
# The same on all servers. Not a secret.
salt = {salt}

[knock]
# Servers behind a closed port open it after a knock.
enabled = true

# Servers come below: hyperion-client add-server NAME HOST[:PORT] PUBKEY
"""


def server_file(
    listen: Endpoint, salt: str, key_file: Path, admin: PublicKey, admin_name: str | None, allow: Sequence[int]
) -> str:
    """``server.toml`` of a server with one admin. Without ``admin_name`` the admin is a bare key."""
    key = quote(str(admin))
    admins = _BARE_ADMIN.format(key=key) if admin_name is None else _NAMED_ADMIN.format(name=quote(admin_name), key=key)
    return _SERVER.format(
        listen=quote(str(listen)),
        salt=quote(salt),
        key_file=quote(key_file.as_posix()),
        admins=admins,
        allow=tomlkit.item(list(allow)).as_string(),
    )


def client_file(salt: str, key_file: Path) -> str:
    """``hyperion.toml`` of a client without servers."""
    return _CLIENT.format(salt=quote(salt), key_file=quote(key_file.as_posix()))


def quote(text: str) -> str:
    """A TOML string."""
    return tomlkit.string(text).as_string()
