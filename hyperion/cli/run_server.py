"""``hyperion-server run``: from the command line to a running supervisor."""

import functools
from collections.abc import Callable
from pathlib import Path

from hyperion import log
from hyperion.cli.loading import load_server_config, server_path
from hyperion.cli.rights import require, settler
from hyperion.cli.start import Restart, Start
from hyperion.config import ServerConfig
from hyperion.config.keyfile import trust_user
from hyperion.loop import run
from hyperion.privileges import disable_core_dumps
from hyperion.proto.control import LogSettings
from hyperion.service_user import find_service_user
from hyperion.supervisor import server
from hyperion.supervisor.gatekeeper import rights_needed
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
    user: str | None = None,
    start: Start | None = None,
    restart: Restart | None = None,
    serve: Serve = _serve,
) -> int:
    """Loads the configuration, starts the log, and serves.

    Raises what loading raises, ``RefusedError`` without the rights that a gate needs, and ``UsageError`` for a ``user``
    that cannot be; before anything is started. ``start``: how this process came to be (default: by hand); ``restart``:
    how it gets rid of a secret in its environment (default: not at all).
    """
    disable_core_dumps()
    start = Start("server", config_file) if start is None else start
    with start.reporting():
        settings = LogSettings(log_format, log_level, start.log_path)
        return _run(config_file, start, restart, serve, workers, drain_timeout, settings, user)


def _run(
    config_file: Path | None,
    start: Start,
    restart: Restart | None,
    serve: Serve,
    workers: int,
    drain_timeout: float,
    log_settings: LogSettings,
    user: str | None,
) -> int:
    path = server_path(config_file)
    trust_user(user)
    config = load_server_config(path, start.secrets)
    require(rights_needed(config), "knock.enabled = true")
    start.loaded(restart)
    service_user = find_service_user(user, "hyperion", path)
    # Last: whatever is wrong was found while the one that this replaces still serves.
    start.make_room()
    start_log = functools.partial(
        log.configure,
        "hyperion-server",
        format=log_settings.format,
        level=log_settings.level,
        path=log_settings.path,
    )
    options = ServerOptions(
        workers=workers,
        drain_timeout=drain_timeout,
        log=log_settings,
        reload=lambda: load_server_config(path, start.secrets),
        announce=lambda address: start.ready([str(address)], service_user),
        desk=start.desk,
        log_path=start.log_path,
        user=service_user,
        settle=settler(service_user, start_log, start.log_path),
    )
    start_log()
    try:
        return serve(config, options)
    finally:
        log.close()
