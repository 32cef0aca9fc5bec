"""``hyperion-server up``: a daemon, and the original's banner.

Knows what a server's operator wants to know at the start.
"""

import time
from collections.abc import Callable
from pathlib import Path

from hyperion.cli.launch import Launched
from hyperion.cli.loading import load_server_config, server_path, terminal_prompt
from hyperion.cli.output import say
from hyperion.cli.service_manager import could_keep_it
from hyperion.cli.start import read_passphrase
from hyperion.cli.status import EXIT_OK, exit_code, fetch, print_lines
from hyperion.cli.style import piece
from hyperion.cli.up import UpOptions, refuse_if_up, responsible_unit, show_plan, start_daemon, who_serves
from hyperion.cli.view_server import gate_advice
from hyperion.config import Secrets, ServerConfig
from hyperion.config.keyfile import trust_user
from hyperion.privileges import disable_core_dumps
from hyperion.proto.operator import ClientStatus, ServerStatus

#: Seconds that knockd has to take up its work before its state counts, and seconds between two looks.
GATE_SECONDS = 3.0
LOOK_SECONDS = 0.1


def run_up_server(options: UpOptions) -> int:
    """Returns when the server is ready: 0, or 4 if its gate is shut.

    Raises what loading raises, or the error that the server failed with.
    """
    disable_core_dumps()
    unit = responsible_unit(options)
    refuse_if_up(options)
    if unit is not None:
        return unit.start(dry_run=options.dry_run)
    path, secrets, config = read_all(options)
    if options.dry_run:
        return show_plan(options, path)
    launched, log_path = start_daemon(options, path, secrets)
    return show_up(options, config, launched, log_path)


def read_all(options: UpOptions, *, twice: bool = False) -> tuple[Path, Secrets, ServerConfig]:
    """The configuration and its secrets. The daemon reads them again, but here somebody watches, and can be asked.

    ``twice``: as ``terminal_prompt``.
    """
    path = server_path(options.config_file)
    secrets = Secrets(terminal_prompt(twice=twice))
    if options.passphrase_fd is not None:
        secrets.give(read_passphrase(options.passphrase_fd))
    trust_user(options.user)
    return path, secrets, load_server_config(path, secrets)


def show_up(options: UpOptions, config: ServerConfig, launched: Launched, log_path: Path) -> int:
    """The banner, and how the gate does: 0, or 4 if it is shut."""
    for line in banner(config, launched, log_path, options.naming):
        say(line)
    if could_keep_it():
        say("  boot:   it ends with the next boot; operations.md: from the quick start to a service")
    return show_gate(lambda: fetch("server", options.config_file)) if config.knock.enabled else EXIT_OK


def show_gate(look: Callable[[], ServerStatus | ClientStatus]) -> int:
    """A server whose gate is shut serves nobody, and whoever starts it must hear of it: 4 then, 0 if it works."""
    deadline = time.monotonic() + GATE_SECONDS
    while True:
        status = look()
        if status.state in ("up", "down") or time.monotonic() >= deadline:
            break
        time.sleep(LOOK_SECONDS)
    if isinstance(status, ServerStatus) and status.gate is not None and status.gate.state == "shut":
        print_lines([[piece(f"the gate is shut: {status.gate.reason}", "bad")], *gate_advice(status.gate)])
    return exit_code(status)


def banner(config: ServerConfig, launched: Launched, log_path: Path, naming: str = "") -> list[str]:
    """What a server that is up says of itself. ``naming``: ``UpOptions.naming``."""
    lines = [f"hyperion-server up (pid {launched.pid}).", f"  listen: {', '.join(launched.listen) or config.listen}"]
    if config.knock.enabled:
        port = config.knock.port or config.listen.port
        lines += [
            f"  knock:  enabled on udp/{port}; the tunnel port answers only who has knocked",
            "          drop all else in the firewall, too: hyperion-server apply-firewall",
        ]
    else:
        lines.append("  knock:  off; the tunnel port answers whoever the firewall lets in")
    egress = ", ".join(map(str, sorted(config.egress))) or "deny-all (no ports allowed yet)"
    return [
        *lines,
        f"  egress: {egress}",
        *(f"  {f'{name}:':7} {text}" for name, text in who_serves(launched)),
        f"  log:    {log_path}",
        f"  status: hyperion-server status{naming}",
        f"  stop:   hyperion-server down{naming}",
    ]
