"""``ls``: the servers of the client's file, without asking any of them and without any secret."""

from pathlib import Path

import msgspec

from hyperion import running
from hyperion.cli.output import say
from hyperion.cli.usual_config import usual_config
from hyperion.config.outline import ClientOutline, ServerOutline, outline_client
from hyperion.config.reading import read_client
from hyperion.errors import RefusedError
from hyperion.paths import DEVICE

SCHEMA = "hyperion.ls/1"
#: Columns that a fake address takes at least.
_ADDRESS_WIDTH = 15


class ForwardDocument(msgspec.Struct):
    """One local listener of the file."""

    local: str
    remote_port: int


class ServerDocument(msgspec.Struct, kw_only=True):
    """One server of ``--json``."""

    name: str
    addr: str
    virtual_ip: str
    server_pubkey: str
    fingerprint: str
    pool_size: int
    forwards: list[ForwardDocument]


class LsDocument(msgspec.Struct, kw_only=True):
    """What ``--json`` prints. ``running``: whether a client runs; ``None``: we may not know. ``pid``: its process."""

    schema: str = SCHEMA
    config: str
    running: bool | None
    pid: int | None
    tun_addr: str
    servers: list[ServerDocument]


def run_ls(config_file: Path | None, *, as_json: bool) -> int:
    """Raises what reading the file raises."""
    path = usual_config("client") if config_file is None else config_file
    outline = outline_client(path, read_client(path))
    runs, pid = _state(config_file)
    if as_json:
        document = LsDocument(
            config=str(path), running=runs, pid=pid, tun_addr=str(outline.tun.address), servers=_documents(outline)
        )
        say(msgspec.json.encode(document).decode())
        return 0
    say(f"hyperion: {_shown(runs, pid)}")
    transparent = DEVICE.exists()
    say(f"tun device {DEVICE.name} at {outline.tun.address}" if transparent else "transparent mode: off")
    if not outline.servers:
        say("no servers yet; add one: hyperion-client add-server NAME HOST[:PORT] PUBKEY")
        return 0
    for line in _table(outline, transparent=transparent):
        say(line)
    return 0


def _state(config_file: Path | None) -> tuple[bool | None, int | None]:
    try:
        found = running.find("client", config_file)
    except RefusedError:
        return None, None
    return found is not None, None if found is None else found.pid


def _shown(runs: bool | None, pid: int | None) -> str:
    if runs is None:
        return "unknown (another user's, perhaps: ask with sudo)"
    return f"UP (pid {pid or 'unknown'})" if runs else "down"


def _reach(server: ServerOutline, *, transparent: bool) -> str:
    return f"ssh user@{server.virtual_ip}" if transparent else f"hyperion-client nc {server.name} 22"


def _documents(outline: ClientOutline) -> list[ServerDocument]:
    return [
        ServerDocument(
            name=server.name,
            addr=str(server.endpoint),
            virtual_ip=str(server.virtual_ip),
            server_pubkey=str(server.public_key),
            fingerprint=server.public_key.fingerprint,
            pool_size=server.pool_size,
            forwards=[
                ForwardDocument(str(forward.local), forward.remote_port)
                for forward in outline.forwards
                if forward.server == server.name
            ],
        )
        for server in outline.servers
    ]


def _table(outline: ClientOutline, *, transparent: bool) -> list[str]:
    """The columns of the original. Without the device a fake address leads nowhere."""
    width = max(4, *(len(server.name) for server in outline.servers))
    rows = [
        (server.name, str(server.virtual_ip), f"{_reach(server, transparent=transparent)}   ({server.endpoint})")
        for server in outline.servers
    ]
    rows.insert(0, ("name", "fake ip", "reach it at"))
    return [f"{name:<{width}}  {address:<{_ADDRESS_WIDTH}}  {reach}" for name, address, reach in rows]
