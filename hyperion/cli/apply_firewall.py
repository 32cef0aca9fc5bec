"""``apply-firewall``: load the gate's ruleset, and keep it only if somebody gets in through it.

Knows what is asked and said. The trial itself, and the way back, are another process's (``hyperion.trial``).
"""

import os
import sys
from pathlib import Path

import click
import msgspec

from hyperion.cli.cautions import cautions
from hyperion.cli.gate_options import GateFlags
from hyperion.cli.gate_rules import chosen_ruleset
from hyperion.cli.output import say
from hyperion.cli.trial_process import Verdict, recover, run_trial
from hyperion.cli.trial_view import TrialView
from hyperion.errors import EXIT_INTERRUPTED, HyperionError, RefusedError, TemporaryError, UsageError, error_class
from hyperion.firewall.nft import FirewallError
from hyperion.firewall.nft_program import NftProgram
from hyperion.firewall.ruleset import Ruleset
from hyperion.paths import runtime_directory
from hyperion.proto.trial import Committed, Failed, Order, RolledBack
from hyperion.running import find
from hyperion.trial.login import login_connection
from hyperion.trial.plan import Plan, make_plan
from hyperion.trial.record import RecordFile, trial_directory
from hyperion.trial.server import ServerWitness

SCHEMA = "hyperion.apply-firewall/1"
_LOOSE = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose")

_DOCTOR = "hyperion-client doctor says where it sticks"

REASONS = {
    "changed": "somebody changed the rules before they were proven",
    "abandoned": "it was interrupted",
    "command-gone": "its command was killed",
    "killed": "the trial was told to end",
    "trial-died": "the trial was killed",
    "load-failed": "nft failed while it loaded them",
}


class RolledBackError(TemporaryError):
    """The ruleset that was loaded before is back."""


class NotRolledBackError(FirewallError):
    """The ruleset that was loaded before could not be put back."""

    reason = "not-rolled-back"


class ApplyDocument(msgspec.Struct, kw_only=True):
    """What ``--json`` prints. ``outcome``: ``committed``, ``rolled-back`` or ``not-rolled-back``."""

    schema: str = SCHEMA
    outcome: str
    by: str | None = None
    source: str | None = None
    reason: str | None = None
    others_changed: bool = False
    tunnel_port: int
    table: str
    set: str
    keep_ports: tuple[int, ...]
    one_shot: bool


def run_apply_firewall(flags: GateFlags, *, seconds: float, yes: bool, dry_run: bool, as_json: bool) -> int:
    """0: committed, 130: rolled back after Ctrl-C.

    Raises ``RolledBackError`` (75) if there was no proof, ``NotRolledBackError`` (69) if the way back is barred, and
    what is wrong before anything was changed: ``UsageError``, ``ConfigError``, ``FirewallError``, ``BusyError``.
    """
    rules = chosen_ruleset(flags)
    plan = make_plan(NftProgram(), rules)
    if dry_run:
        _warn(_losses(plan))
        say(plan.load.rstrip("\n"))
        click.echo("nft would take this, and take it back (nothing was loaded)", err=True)
        return 0
    running = find("server", flags.config_file)
    directory = running.directory if running else runtime_directory("server", flags.config_file)
    clean_up(ServerWitness(directory))
    if not as_json:
        click.echo(_summary(rules), err=True)
    _ask(rules, _losses(plan), server_runs=running is not None, yes=yes)
    order = Order(
        rules.tunnel_port,
        rules.table,
        rules.set,
        rules.keep_ports,
        rules.one_shot,
        rules.dhcpv6,
        rules.max_connections,
        seconds,
        str(trial_directory()),
        str(directory),
    )
    terminal = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    view = TrialView(terminal=terminal, silent=as_json)
    verdict, interrupted = run_trial(order, view.show, view.tick)
    if as_json and not isinstance(verdict, Failed):
        say(_document(rules, verdict))
    return _tell(verdict, seconds, view, interrupted=interrupted, as_json=as_json)


def _summary(rules: Ruleset) -> str:
    kept = ", ".join(map(str, rules.keep_ports)) or "none"
    once = ", one connection a knock" if rules.one_shot else ""
    return f"table inet {rules.table}: tunnel port {rules.tunnel_port}, set {rules.set}{once}; ports kept open: {kept}"


def clean_up(witness: ServerWitness) -> None:
    """What an earlier trial left, that was killed together with its command, is undone first."""
    left = recover(RecordFile(trial_directory()), witness, "trial-died")
    if left is None:
        return
    if not left.exact:
        raise _not_rolled_back(left)
    click.echo("note: an earlier trial was killed; what it had loaded was taken back first", err=True)


def _losses(plan: Plan) -> list[str]:
    if not plan.drops:
        return []
    table = plan.snapshot.table
    return [f"what you added to table inet {table} goes, with the rules that name it: {', '.join(plan.drops)}"]


def _warn(warnings: list[str]) -> None:
    for text in warnings:
        click.echo(f"warning: {text}", err=True)


def _ask(rules: Ruleset, losses: list[str], *, server_runs: bool, yes: bool) -> None:
    login = login_connection(os.getpid())
    found = losses + cautions(rules, login, server_runs=server_runs, picks_up=_picks_up())
    _warn(found)
    if not found or yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", hint="say --yes")
    if not click.confirm("Try it?", err=True):
        raise RefusedError("nothing was changed")


def _picks_up() -> bool:
    try:
        return _LOOSE.read_text().strip() != "0"
    except OSError:  # no conntrack yet: then it will have the kernel's default
        return True


def _tell(verdict: Verdict, seconds: float, view: TrialView, *, interrupted: bool, as_json: bool) -> int:
    match verdict:
        case Failed():
            raise _as_error(verdict)
        case Committed(by=by, source=source):
            what = "a knock and a handshake" if by == "knock" else "a new login"
            if not as_json:
                say(f"committed: {what} of {source} came through the new rules")
                click.echo(
                    "note: a reboot forgets them, as all rules of nft: load what print-firewall prints at boot",
                    err=True,
                )
            return 0
        case RolledBack():
            if not verdict.exact:
                raise _not_rolled_back(verdict)
            if verdict.others_changed:
                click.echo("note: other tables were changed meanwhile, not by us; they are left as they are", err=True)
            if interrupted:
                click.echo("rolled back: the table is as it was", err=True)
                return EXIT_INTERRUPTED
            if verdict.reason == "no-proof":
                raise _no_proof(seconds, view)
            why = REASONS.get(verdict.reason, verdict.reason)
            raise RolledBackError(f"rolled back: {why}", hint=f"all is as it was; {_DOCTOR}")


def _no_proof(seconds: float, view: TrialView) -> HyperionError:
    """Half a proof is none; what was missing says what to do."""
    why, hint = f"nobody got in within {seconds:g} s", _DOCTOR
    if view.sources("session"):
        came = ", ".join(view.sources("session"))
        why = f"nothing knocked within {seconds:g} s; {came} came in by an admission from before"
        hint = "that proves nothing: run this again, and then hyperion-client doctor, or connect anew, which knocks"
    elif view.sources("knock"):
        why += f": {', '.join(view.sources('knock'))} knocked, and no handshake followed"
    elif view.server:
        why += ": nothing knocked"
        hint = (
            "run this again, and then hyperion-client doctor from your own machine, or connect anew: clients that are"
            " connected do not knock"
        )
    return RolledBackError(f"rolled back: {why}", hint=f"all is as it was; {hint}")


def _not_rolled_back(verdict: RolledBack) -> HyperionError:
    return NotRolledBackError(
        f"the table could not be put back: {verdict.detail}",
        hint=f"what was loaded before is kept in {trial_directory()}/trial.json; run this again to try once more",
    )


def _as_error(verdict: Failed) -> HyperionError:
    return error_class(verdict.exit_code)(verdict.message, hint=verdict.hint)


def _document(rules: Ruleset, verdict: Committed | RolledBack) -> str:
    document = ApplyDocument(
        outcome="committed",
        tunnel_port=rules.tunnel_port,
        table=rules.table,
        set=rules.set,
        keep_ports=rules.keep_ports,
        one_shot=rules.one_shot,
    )
    if isinstance(verdict, Committed):
        document.by, document.source = verdict.by, verdict.source
    else:
        document.outcome = "rolled-back" if verdict.exact else "not-rolled-back"
        document.reason, document.others_changed = verdict.reason, verdict.others_changed
    return msgspec.json.encode(document).decode()
