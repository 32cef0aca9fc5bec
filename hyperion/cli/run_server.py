"""``hyperion-server run``: from the command line to a running supervisor."""

from collections.abc import Callable
from pathlib import Path

from hyperion import log
from hyperion.cli.loading import load_server_config, server_path, terminal_prompt
from hyperion.config import Secrets, ServerConfig
from hyperion.loop import run
from hyperion.paths import runtime_directory
from hyperion.privileges import disable_core_dumps
from hyperion.proto.control import LogSettings
from hyperion.supervisor import server
from hyperion.supervisor.desk import DeskPlace
from hyperion.supervisor.server import ServerOptions

#: Serves until told to stop; returns the exit code.
Serve = Callable[[ServerConfig, ServerOptions], int]


def _serve(config: ServerConfig, options: ServerOptions) -> int:
    return run(lambda: server.run(config, options))


def run_server(
    config_file: Path | None,
    *,
    workers: int,
    drain_timeout: float,
    log_format: str,
    log_level: str,
    serve: Serve = _serve,
) -> int:
    """Loads the configuration, starts the log, and serves. Raises what loading raises, before anything is started."""
    disable_core_dumps()
    path = server_path(config_file)
    secrets = Secrets(terminal_prompt())
    config = load_server_config(path, secrets)
    secrets.stop_asking()
    options = ServerOptions(
        workers=workers,
        drain_timeout=drain_timeout,
        log=LogSettings(log_format, log_level),
        reload=lambda: load_server_config(path, secrets),
        desk=DeskPlace(runtime_directory("server", config_file)),
    )
    log.configure("hyperion-server", format=log_format, level=log_level)
    try:
        return serve(config, options)
    finally:
        log.close()
