"""Which ruleset the caller means.

Flags go before the configuration, and that before the defaults, which are the original's. Of the configuration only
ports and names are used: no key is opened, and nobody is asked for a passphrase.
"""

from pathlib import Path

from hyperion.cli.gate_options import GateFlags
from hyperion.cli.loading import server_path
from hyperion.config.complaint import wrong
from hyperion.config.endpoint import Endpoint
from hyperion.config.reading import read_server
from hyperion.config.schema import FirewallSection, ServerFile
from hyperion.errors import ConfigError, ConfigMissingError, UsageError
from hyperion.firewall.ruleset import MAX_CONNECTIONS_PER_SOURCE, Ruleset


def chosen_ruleset(flags: GateFlags) -> Ruleset:
    """What the flags and the configuration ask for.

    A configuration in the default place may be missing if the flags name the port. Raises ``ConfigMissingError`` for
    one that was named and is not there, ``ConfigError`` for what is wrong in it, ``UsageError`` for the flags.
    """
    file = _configuration(flags)
    names = FirewallSection() if file is None else file.firewall
    port = flags.tunnel_port or (None if file is None else _listen_port(server_path(flags.config_file), file))
    if port is None:
        raise UsageError("which port is the tunnel's?", hint="say --tunnel-port P, or name a configuration with -c")
    try:
        return Ruleset(
            port,
            table=flags.table or names.table,
            set=flags.set_name or names.set,
            keep_ports=tuple(dict.fromkeys(flags.keep_ports)),
            one_shot=names.one_shot if flags.one_shot is None else flags.one_shot,
            dhcpv6=flags.dhcpv6,
            max_connections=flags.max_connections or MAX_CONNECTIONS_PER_SOURCE,
        )
    except ConfigError as error:
        # What stands in the file has been judged when it was read.
        raise UsageError(error.message, hint=error.hint) from None


def chosen_names(flags: GateFlags) -> tuple[str, str]:
    """Table and set, where no port is needed. Raises as ``chosen_ruleset``."""
    file = _configuration(flags)
    names = FirewallSection() if file is None else file.firewall
    try:
        rules = Ruleset(1, table=flags.table or names.table, set=flags.set_name or names.set)
    except ConfigError as error:
        raise UsageError(error.message, hint=error.hint) from None
    return rules.table, rules.set


def _configuration(flags: GateFlags) -> ServerFile | None:
    try:
        return read_server(server_path(flags.config_file))
    except ConfigMissingError:
        if flags.config_file is not None:
            raise
        return None


def _listen_port(path: Path, file: ServerFile) -> int:
    try:
        return Endpoint.parse(file.listen).port
    except ValueError as error:
        raise wrong(path, ("listen",), "HOST:PORT or [IPV6]:PORT", str(error)) from None
