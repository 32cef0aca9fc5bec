"""Messages of a trial of the firewall: the command that asks for it, the process that runs it, and who confirms it.

Three closed unions. The command sends one order, then listens; its end of file means: undo. Whoever confirms, from a
new login, sends one request over a socket in the file system and gets one answer. Framing and limits are those of
``proto.control``. No secret travels here.
"""

from hyperion.proto.control import Message


class Order(Message, frozen=True, tag="trial-order"):
    """Try this ruleset for ``seconds``. ``directory`` is that of the record; ``server_directory`` that of the server
    that may prove it, which need not exist."""

    tunnel_port: int
    table: str
    set: str
    keep_ports: tuple[int, ...]
    one_shot: bool
    dhcpv6: bool
    max_connections: int
    seconds: float
    directory: str
    server_directory: str


class Abandon(Message, frozen=True, tag="trial-abandon"):
    """Put everything back now, and say so: somebody pressed Ctrl-C."""


class Loaded(Message, frozen=True, tag="trial-loaded"):
    """The rules are in force, and will be taken back after ``seconds``. ``server``: it can prove them; else ``reason``
    says why it cannot. ``strangers``: open connections that conntrack could not be told of, and that may hang."""

    seconds: float
    server: bool
    reason: str | None = None
    strangers: int = 0


class Seen(Message, frozen=True, tag="trial-seen"):
    """Half of the proof: a knock of this source was heard, or a session of it opened that did not knock since."""

    source: str
    what: str


class Committed(Message, frozen=True, tag="trial-committed"):
    """The rules stay. ``by``: ``knock`` or ``login``."""

    by: str
    source: str


class RolledBack(Message, frozen=True, tag="trial-rolled-back"):
    """The table is as it was. ``exact``: nft's listing says so; else ``detail`` says what differs. ``others_changed``:
    somebody changed other tables meanwhile, which were left alone."""

    reason: str
    exact: bool
    others_changed: bool = False
    detail: str | None = None


class Failed(Message, frozen=True, tag="trial-failed"):
    """Nothing was changed."""

    message: str
    hint: str | None
    exit_code: int


class ConfirmRequest(Message, frozen=True, tag="confirm-request"):
    """Somebody logged in over this connection, and so through the new rules. Addresses in text."""

    remote: str
    remote_port: int
    local: str
    local_port: int


class Confirmed(Message, frozen=True, tag="confirmed"):
    """The rules stay."""


class NotConfirmed(Message, frozen=True, tag="not-confirmed"):
    """They do not, not because of this: ``reason`` for people."""

    reason: str
    hint: str | None = None


CommandToTrial = Order | Abandon
TrialToCommand = Loaded | Seen | Committed | RolledBack | Failed
ConfirmToTrial = ConfirmRequest
TrialToConfirm = Confirmed | NotConfirmed
