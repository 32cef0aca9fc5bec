"""``hyperion-client run``: from the command line to a running supervisor."""

from collections.abc import Callable, Sequence
from pathlib import Path

from hyperion import log
from hyperion.cli.loading import client_path, load_client_config, terminal_prompt
from hyperion.cli.output import forget_output, say
from hyperion.cli.transparent_mode import obstacle
from hyperion.config import ClientConfig, Secrets
from hyperion.config.forward import add_forwards, parse_forward
from hyperion.config.socks import add_socks, parse_socks
from hyperion.errors import UsageError
from hyperion.loop import run
from hyperion.paths import runtime_directory
from hyperion.privileges import disable_core_dumps
from hyperion.proto.control import LogSettings
from hyperion.supervisor import client
from hyperion.supervisor.client import ClientOptions
from hyperion.supervisor.desk import DeskPlace

#: Forwards until told to stop; returns the exit code.
Serve = Callable[[ClientConfig, ClientOptions], int]


def _serve(config: ClientConfig, options: ClientOptions) -> int:
    return run(lambda: client.run(config, options))


def run_client(
    config_file: Path | None,
    forwards: Sequence[str],
    socks: Sequence[str] = (),
    *,
    tun: bool = False,
    gateway_ports: bool = False,
    drain_timeout: float,
    log_format: str,
    log_level: str,
    serve: Serve = _serve,
) -> int:
    """Loads the configuration, adds ``forwards`` as of ``-L`` and ``socks`` as of ``-D``, starts the log, and forwards.

    ``tun``: transparent mode as well. Raises what loading raises, ``UsageError`` and ``RefusedError``, before anything
    is started.
    """
    disable_core_dumps()
    if tun and (error := obstacle()) is not None:
        raise error
    extra = [parse_forward(text) for text in forwards]
    listeners = [parse_socks(text, gateway_ports=gateway_ports) for text in socks]
    path = client_path(config_file)
    secrets = Secrets(terminal_prompt())

    def load() -> ClientConfig:
        return add_socks(add_forwards(load_client_config(path, secrets), extra), listeners)

    config = load()
    secrets.stop_asking()
    if not config.forwards and not config.socks and not tun:
        raise UsageError("nothing to forward", hint=f"add a [[forward]] to {path}, or -L 8080:SERVER:80, or -D 1080")
    options = ClientOptions(
        drain_timeout=drain_timeout,
        log=LogSettings(log_format, log_level),
        reload=load,
        announce=show_forwards,
        announce_socks=show_socks,
        runtime=runtime_directory("client", config_file),
        desk=DeskPlace(runtime_directory("client", config_file)),
        transparent=tun,
    )
    log.configure("hyperion-client", format=log_format, level=log_level)
    try:
        return serve(config, options)
    finally:
        log.close()


def show_forwards(forwards: list[tuple[str, str, int]]) -> None:
    """One line for each forward that listens: local address with the port that was found, server, remote port."""
    _show([f"forward {local} -> {server}:{remote_port}" for local, server, remote_port in forwards])


def show_socks(addresses: list[str]) -> None:
    """One line for each SOCKS listener."""
    _show([f"socks {address}" for address in addresses])


def _show(lines: list[str]) -> None:
    try:
        for line in lines:
            say(line)
    except BrokenPipeError:
        # Whoever wanted the first line only has it. What listens is there for others, too.
        forget_output()
