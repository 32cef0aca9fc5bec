"""Configuration: two TOML files, checked once by the supervisor, never read by a child.

* ``schema``     the files as they are written
* ``toml_file``  from bytes to the schema, with one-line errors
* ``endpoint``   addresses
* ``safe_file``  files that appear whole or not at all
* ``keyfile``    files that hold one secret
* ``secrets``    what comes from the environment or from a person
* ``key_source`` where a PSK comes from: passphrase, environment, file, value
* ``outline``    what the client's file says without its secrets, and ``edit`` what a command changes in it
* ``server`` and ``client``  what the values mean together
* ``fake_ip``    by which address each server is known in transparent mode
* ``name``       how servers and admins may be called
* ``admins``     who may come in
* ``forward``    forwards from the command line
* ``socks``      SOCKS listeners, from the file and from the command line
* ``settings``   the result

``load_server`` and ``load_client`` do all of it. Everything that is wrong with a file is a ``ConfigError`` of one line.
"""

from hyperion.config.client import load_client, read_client, resolve_client
from hyperion.config.endpoint import Endpoint
from hyperion.config.secrets import Secrets
from hyperion.config.server import load_server, read_server, resolve_server
from hyperion.config.settings import (
    Admin,
    ClientConfig,
    FirewallSettings,
    ForwardEntry,
    KnockSettings,
    ServerConfig,
    ServerEntry,
    SocksEntry,
    TunSettings,
)

__all__ = [
    "Admin",
    "ClientConfig",
    "Endpoint",
    "FirewallSettings",
    "ForwardEntry",
    "KnockSettings",
    "Secrets",
    "ServerConfig",
    "ServerEntry",
    "SocksEntry",
    "TunSettings",
    "load_client",
    "load_server",
    "read_client",
    "read_server",
    "resolve_client",
    "resolve_server",
]
