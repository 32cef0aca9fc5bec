"""``print-firewall``: the gate's table as text for ``nft -f -``. A pure printer; nothing is loaded.

``--check`` asks nft whether it would take it, before anything is printed, so that what reaches a pipe is right.
"""

import click
import msgspec

from hyperion.cli.gate_options import GateFlags
from hyperion.cli.gate_rules import chosen_ruleset
from hyperion.cli.output import say
from hyperion.errors import RefusedError
from hyperion.firewall.nft_program import NftProgram
from hyperion.firewall.ruleset import Ruleset, ruleset_text
from hyperion.running import find

SCHEMA = "hyperion.print-firewall/1"


class FirewallDocument(msgspec.Struct):
    """What ``--json`` prints."""

    schema: str
    tunnel_port: int
    table: str
    set: str
    keep_ports: tuple[int, ...]
    one_shot: bool
    ruleset: str


def run_print_firewall(flags: GateFlags, *, check: bool, as_json: bool) -> int:
    """Raises what ``chosen_ruleset`` raises, and ``FirewallError`` if nft is asked and refuses."""
    rules = chosen_ruleset(flags)
    text = ruleset_text(rules)
    if check:
        NftProgram().check(text)
        click.echo("nft would take this (nothing was loaded)", err=True)
    _tell_of_guard(flags)
    say(_document(rules, text) if as_json else text.rstrip("\n"))
    return 0


def _tell_of_guard(flags: GateFlags) -> None:
    """A running server takes back what a pipe to nft changes, and its log is not where the caller looks."""
    try:
        running = find("server", flags.config_file)
    except RefusedError:  # somebody else's: not ours to see
        return
    if running is not None:
        pid = "" if running.pid is None else f" (pid {running.pid})"
        text = f"note: a server runs{pid}: a table that it guards already it puts back; apply-firewall changes that one"
        click.echo(text, err=True)


def _document(rules: Ruleset, text: str) -> str:
    document = FirewallDocument(
        SCHEMA, rules.tunnel_port, rules.table, rules.set, rules.keep_ports, rules.one_shot, text
    )
    return msgspec.json.encode(document).decode()
