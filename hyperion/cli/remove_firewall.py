"""``remove-firewall``: take the gate's table away, and no other.

A running server is told, so that its guard does not put the table back. It then knows that there is no gate, and lets
nobody new in until there is one again: what is open to the world afterwards is everything else.
"""

import asyncio
import time

import click
import msgspec

from hyperion.cli.apply_firewall import clean_up
from hyperion.cli.gate_options import GateFlags
from hyperion.cli.gate_rules import chosen_names
from hyperion.cli.output import say
from hyperion.errors import TemporaryError
from hyperion.firewall.nft import FirewallError
from hyperion.firewall.nft_program import NftProgram
from hyperion.firewall.ruleset import remove_text
from hyperion.paths import runtime_directory
from hyperion.running import find
from hyperion.trial.guardian import HOLD_SECONDS, SETTLE_SECONDS
from hyperion.trial.plan import check_it_is_ours, list_json, take_snapshot
from hyperion.trial.record import RecordFile, trial_directory
from hyperion.trial.server import ServerWitness

SCHEMA = "hyperion.remove-firewall/1"


class RemoveDocument(msgspec.Struct):
    """What ``--json`` prints. ``removed``: false if there was none."""

    schema: str
    table: str
    removed: bool


def run_remove_firewall(flags: GateFlags, *, dry_run: bool, as_json: bool) -> int:
    """0 also if there was nothing to remove.

    Raises ``NotOursError`` for a table of somebody else's, ``TemporaryError`` if somebody puts it back, ``BusyError``
    during a trial, other ``FirewallError``.
    """
    table, set_name = chosen_names(flags)
    nft = NftProgram()
    running = find("server", flags.config_file)
    witness = ServerWitness(running.directory if running else runtime_directory("server", flags.config_file))
    if dry_run:
        there = _is_there(nft, table, set_name)
        say(remove_text(table).rstrip("\n") if there else f"there is no table inet {table}")
        return 0
    clean_up(witness)
    with RecordFile(trial_directory()).locked():
        there = _is_there(nft, table, set_name)
        if there or running is not None:
            there = asyncio.run(_remove(nft, witness, table, set_name))
    _tell(table, removed=there, server_runs=running is not None, as_json=as_json)
    return 0


def _is_there(nft: NftProgram, table: str, set_name: str) -> bool:
    snapshot = take_snapshot(nft, table)
    listing = list_json(nft, table)
    if snapshot.before is None or listing is None:
        return False
    check_it_is_ours(snapshot.before, listing, table, set_name)
    return True


async def _remove(nft: NftProgram, witness: ServerWitness, table: str, set_name: str) -> bool:
    """Also where there is none: a server whose knockd is away would put it back soon. Whether there was one."""
    try:
        refusal = await witness.hold(HOLD_SECONDS, needs_gate=False)
        if refusal is not None:
            raise FirewallError(f"the running server cannot let go of its table: {refusal}", hint="stop it first")
        # Only now: it may have been put back a moment ago.
        there = _is_there(nft, table, set_name)
        if there:
            nft.load(remove_text(table))
    finally:
        # Also one that refused: it may have been late, and hold its guard now.
        await witness.hold(0, needs_gate=False)
    time.sleep(SETTLE_SECONDS)  # noqa: ASYNC251 - nothing else runs here
    if list_json(nft, table) is not None:
        raise TemporaryError(
            f"somebody puts table inet {table} back",
            hint="a server with another configuration or user guards it: name it with -c, or stop it",
        )
    return there


def _tell(table: str, *, removed: bool, server_runs: bool, as_json: bool) -> None:
    if as_json:
        say(msgspec.json.encode(RemoveDocument(SCHEMA, table, removed)).decode())
        return
    if not removed:
        say(f"there is no table inet {table}: nothing to remove")
        return
    say(f"removed table inet {table}: what other tables let in is open")
    if server_runs:
        click.echo("note: the running server has no gate now, and takes no new connection until it has one", err=True)
