"""Configuration: two TOML files, checked once by the supervisor, never read by a child.

* ``schema``     the files as they are written
* ``toml_file``  from bytes to the schema, with one-line errors
* ``reading``    those two together: a file as it is written
* ``endpoint``   addresses; ``values`` those and public keys as they stand in a file
* ``safe_file``  files that appear whole or not at all
* ``keyfile``    files that hold one secret; ``owners`` whose files we trust
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

Each name is loaded when it is first asked for: a command that looks at a file needs nothing that opens a key.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hyperion.config.client import load_client, resolve_client
    from hyperion.config.endpoint import Endpoint
    from hyperion.config.reading import read_client, read_server
    from hyperion.config.secrets import Secrets
    from hyperion.config.server import load_server, resolve_server
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

#: Where each of them is; all others are in ``settings``.
_PLACES = {
    "Endpoint": "endpoint",
    "Secrets": "secrets",
    "load_client": "client",
    "load_server": "server",
    "read_client": "reading",
    "read_server": "reading",
    "resolve_client": "client",
    "resolve_server": "server",
}


def __getattr__(name: str) -> object:
    """One of ``__all__``, from its place (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES.get(name, 'settings')}"), name)
