"""What a ruleset would do to the person who loads it: said before, not found out after. Pure."""

from hyperion.firewall.ruleset import Ruleset
from hyperion.trial.connections import Connection


def cautions(rules: Ruleset, login: Connection | None, *, server_runs: bool, picks_up: bool) -> list[str]:
    """Each a sentence or two; none: nobody is surprised.

    ``login``: the connection of the caller's own login, if it is known. ``picks_up``: whether conntrack takes over
    connections that are older than itself (``nf_conntrack_tcp_loose``, the kernel's default).
    """
    found = [_about_login(rules, login)]
    if login is not None and not login.stays_inside and not picks_up:
        found.append(
            "this kernel does not take over connections that are older than the firewall (nf_conntrack_tcp_loose is 0):"
            " if this host had no stateful firewall until now, this session may be cut"
        )
    if not server_runs:
        found.append(
            "no hyperion-server is running here with this configuration, so no knock can prove the rules:"
            " only confirm-firewall from a new login can"
        )
    return [text for text in found if text is not None]


def _about_login(rules: Ruleset, login: Connection | None) -> str | None:
    way = "through the tunnel" + (f" or at port {_listed(rules.keep_ports)}" if rules.keep_ports else "")
    if login is None:
        return (
            "it is not known how you are logged in (a console, tmux, screen?); new logins over the network will get in"
            f" only {way}"
        )
    if login.stays_inside or login.local_port in rules.keep_ports:
        return None
    return (
        f"you are logged in from {login.remote} at port {login.local_port}. This session goes on, because what is"
        f" established stays; but no new login at port {login.local_port} will get in, only {way}."
        f" --keep-port {login.local_port} leaves it open"
    )


def _listed(ports: tuple[int, ...]) -> str:
    return ", ".join(map(str, ports))
