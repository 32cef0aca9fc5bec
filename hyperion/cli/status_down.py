"""What ``status`` says of a program that does not run: what it would do if it did, and how to start it.

Knows the configuration as it is written; fetches no secret and asks nobody. Loaded only when nothing runs.
"""

from pathlib import Path

from hyperion.cli.usual_config import usual_config
from hyperion.config.admins import resolve_admins
from hyperion.config.outline import outline_client
from hyperion.config.reading import read_client, read_server
from hyperion.config.values import endpoint
from hyperion.errors import ConfigMissingError, HyperionError
from hyperion.paths import Program
from hyperion.proto.operator import ClientStatus, GateLine, ServerStatus
from hyperion.supervisor.admin_lines import admin_lines


def down(program: Program, config_file: Path | None) -> tuple[ServerStatus | ClientStatus, str]:
    """The document, and one line: what to do next."""
    title = f"hyperion-{program}"
    try:
        path = config_file or usual_config(program)
        status = _server(path) if program == "server" else _client(path)
    except ConfigMissingError as error:
        empty = ServerStatus() if program == "server" else ClientStatus()
        return empty, f"{error}; make one with: {title} init"
    except HyperionError as error:
        broken = ServerStatus(reason=str(error)) if program == "server" else ClientStatus(reason=str(error))
        return broken, f"its configuration has a fault: {error}"
    if isinstance(status, ClientStatus) and not status.servers_total:
        return status, f"no servers yet; add one with: {title} add-server NAME HOST[:PORT] PUBKEY"
    return status, f"start it with: {title} up"


def _server(path: Path) -> ServerStatus:
    raw = read_server(path)
    listen = endpoint(path, ("listen",), raw.listen)
    port = raw.knock.knock_port or listen.port
    return ServerStatus(
        config=str(path),
        listen=raw.listen,
        egress=sorted(raw.egress.allow),
        gate=GateLine(state="enabled", port=port) if raw.knock.enabled else GateLine(state="off"),
        admins=admin_lines(resolve_admins(path, raw)),
    )


def _client(path: Path) -> ClientStatus:
    outline = outline_client(path, read_client(path))
    return ClientStatus(config=str(path), servers_total=len(outline.servers))
