"""``nc`` where no client runs, or where its command line is not the plain one: with its own knock and tunnel.

Knows the configuration and how to ask for a passphrase while standard input is data. What is moved, and what the end
means, is ``call``'s and ``stdio``'s business.
"""

import os
import socket
from pathlib import Path

from hyperion.aside import in_thread
from hyperion.cli.around import sockets_around
from hyperion.cli.call import converse
from hyperion.cli.loading import client_path, controlling_terminal_prompt, load_client_config
from hyperion.cli.quick_nc import running, through_running
from hyperion.cli.stdio import open_missing
from hyperion.config import ClientConfig, Secrets, ServerEntry
from hyperion.config.forward import require_name
from hyperion.config.outline import ClientOutline, outline_client
from hyperion.config.reading import read_client
from hyperion.errors import NotRunningError, TemporaryError, UsageError
from hyperion.loop import run
from hyperion.privileges import disable_core_dumps
from hyperion.proto.handover import KNOCK_UNANSWERED
from hyperion.rendezvous import AVAILABLE, Meeting, ask, matching
from hyperion.worker.connector import ConnectFailed
from hyperion.worker.single import SingleTunnel
from hyperion.worker.target import target_of


def run_nc(config_file: Path | None, server: str, port: int, *, fdpass: bool = False) -> int:
    """Standard input and output to ``port`` of ``server``; the exit code. ``fdpass``: see ``call.pass_on``.

    Raises what loading raises, ``UsageError`` for an unknown server, ``NotRunningError``, and what ``converse`` raises.
    """
    if not AVAILABLE:
        raise UsageError(
            "nc needs Unix sockets that hand over descriptors, and this system has none",
            hint=f"forward a port instead: hyperion-client run -L {server}:{port}",
        )
    open_missing()
    if (code := through_running(running(config_file), server, port, fdpass=fdpass)) is not None:
        return code
    if fdpass:  # ssh waits until we have ended, and a tunnel of our own would end with us
        raise NotRunningError(
            f"no client of this user runs that knows {server}",
            hint="hyperion-client up; or leave out -F, and ProxyUseFdpass of ssh",
        )
    disable_core_dumps()
    secrets = Secrets(controlling_terminal_prompt())
    path = client_path(config_file)
    name = find_server(outline_client(path, read_client(path)), server)  # first: nobody is asked for a secret in vain
    config = load_client_config(path, secrets)
    secrets.stop_asking()
    entry = next(entry for entry in config.servers if entry.name == name)
    return run(lambda: through_own_tunnel(config, entry, port))


def find_server(outline: ClientOutline, name: str) -> str:
    """What the file calls it, by the same rules as with a client that runs. Raises ``UsageError``."""
    known = [Meeting(server.name, "", (str(server.virtual_ip), server.endpoint.host)) for server in outline.servers]
    found = matching(name, known)
    if not found:
        require_name([server.name for server in outline.servers], name, outline.path)
    return found[0].name


async def through_own_tunnel(config: ClientConfig, entry: ServerEntry, port: int) -> int:
    """Knocks, connects, and ends with the stream. Raises ``HyperionError``."""
    tunnel = SingleTunnel(target_of(entry, config.identity, config.knock), sockets_around([entry]) or socket.socket)
    try:
        await tunnel.open((os.geteuid(),))
    except ConnectFailed as error:
        if error.reason == KNOCK_UNANSWERED:
            raise TemporaryError(error.message, hint=error.hint) from None
        raise
    control, theirs = socket.socketpair()
    stream, local = socket.socketpair()
    with local:
        ask(control, port, local)
    tunnel.adopt(theirs)
    try:
        return await in_thread(lambda: converse(control, stream, entry.name, port), "nc")
    finally:
        await tunnel.close()
