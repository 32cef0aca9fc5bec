"""``hyperion-client run``: from the command line to a running supervisor."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from hyperion import log
from hyperion.cli.around import mark_needed
from hyperion.cli.loading import client_path, load_client_config
from hyperion.cli.output import forget_output, say
from hyperion.cli.rights import settler
from hyperion.cli.start import Restart, Start
from hyperion.cli.transparent_mode import TUN_DEVICE, prepare
from hyperion.config import ClientConfig
from hyperion.config.forward import add_forwards, parse_forward
from hyperion.config.keyfile import trust_user
from hyperion.config.selection import only_servers
from hyperion.config.socks import add_socks, parse_socks
from hyperion.errors import UsageError
from hyperion.loop import run
from hyperion.privileges import disable_core_dumps
from hyperion.proto.control import LogSettings
from hyperion.service_user import ServiceUser, find_service_user
from hyperion.supervisor import client
from hyperion.supervisor.client import ClientOptions
from hyperion.supervisor.plan import Plan, fake_plan

#: Made for the client by deploy/sysusers.d.
SERVICE_USER = "hyperion-client"

#: Forwards until told to stop; returns the exit code.
Serve = Callable[[ClientConfig, ClientOptions], int]
#: What transparent mode is to look like.
Planner = Callable[[ClientConfig], Plan]


def _serve(config: ClientConfig, options: ClientOptions) -> int:
    return run(lambda: client.run(config, options))


def run_client(
    config_file: Path | None,
    forwards: Sequence[str],
    socks: Sequence[str] = (),
    *,
    tun: bool = False,
    hosts: Path | None = None,
    plan: Planner = fake_plan,
    gateway_ports: bool = False,
    drain_timeout: float,
    log_format: str,
    log_level: str,
    only: Sequence[str] = (),
    user: str | None = None,
    start: Start | None = None,
    restart: Restart | None = None,
    serve: Serve = _serve,
) -> int:
    """Loads the configuration, adds ``forwards`` as of ``-L`` and ``socks`` as of ``-D``, starts the log, and forwards.

    ``tun``: transparent mode as well, as ``plan`` says; ``hosts``: with the servers' names in that file; ``only``: just
    these servers; ``user``: whom root becomes (default: see ``_who``); ``start``: how this process came to be
    (default: by hand); ``restart``: how it gets rid of a secret in its environment (default: not at all). Raises what
    loading raises, ``UsageError`` and ``RefusedError``, before anything is started.
    """
    disable_core_dumps()
    extra = [parse_forward(text) for text in forwards]
    listeners = [parse_socks(text, gateway_ports=gateway_ports) for text in socks]
    path = client_path(config_file)
    start = Start("client", config_file) if start is None else start

    def load() -> ClientConfig:
        named = [*(forward.server for forward in extra), *only]
        config = add_socks(add_forwards(load_client_config(path, start.secrets, named), extra), listeners)
        return only_servers(config, only)

    with start.reporting():
        prepare(tun=tun, hosts=hosts)
        trust_user(user)
        config = load()
        start.loaded(restart)
        # Who asked for it to be up wants it also for nc and for SOCKS.
        if not (config.forwards or config.socks or tun or start.desk.required):
            raise _nothing_to_do(path)
        service_user = _who(user, path, start.runtime, tun=tun)
        options = ClientOptions(
            drain_timeout=drain_timeout,
            log=LogSettings(log_format, log_level, start.log_path),
            reload=load,
            announce=lambda made: _announce(start, made, service_user),
            announce_socks=None if start.is_daemon else show_socks,
            runtime=start.runtime,
            desk=start.desk,
            log_path=start.log_path,
            transparent=plan if tun else None,
            hosts=hosts,
            mark=None if tun else mark_needed(config.servers),
            user=service_user,
        )
        return _serve_logged(config, options, serve)


def _nothing_to_do(path: Path) -> UsageError:
    return UsageError("nothing to forward", hint=f"add a [[forward]] to {path}, or -L 8080:SERVER:80, or -D 1080")


def _announce(start: Start, forwards: list[tuple[str, str, int]], user: ServiceUser | None) -> None:
    start.ready([local for local, _, _ in forwards], user)
    if not start.is_daemon:
        show_forwards(forwards)


def _serve_logged(config: ClientConfig, options: ClientOptions, serve: Serve) -> int:
    start_log = functools.partial(
        log.configure, "hyperion-client", format=options.log.format, level=options.log.level, path=options.log.path
    )
    start_log()
    try:
        # The system's directory of logs stays root's: this user may be any person, and others log there, too.
        settle = settler(options.user, start_log, options.log_path, owns_directory=False)
        return serve(config, dataclasses.replace(options, settle=settle))
    finally:
        log.close()


def _who(asked: str | None, config_file: Path, runtime: Path, *, tun: bool) -> ServiceUser | None:
    """Whom root becomes: he must get to where the runtime directory is or will be, and to what makes the device."""
    there = next(place for place in runtime.absolute().parents if place.is_dir())
    places = [there, TUN_DEVICE] if tun and TUN_DEVICE.exists() else [there]
    return find_service_user(asked, SERVICE_USER, config_file, owner_first=True, places=places)


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
