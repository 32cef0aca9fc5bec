"""Why an attempt to reach a server failed, in a stable word, a sentence, and a hint.

Knows what each way to fail looks like from here. Refuses to know sockets; what the network said is handed in.
"""

import os
import time
from collections.abc import Sequence

import msgspec

from hyperion.errors import UnreachableError
from hyperion.proto.errors import HandshakeError, ProtocolError
from hyperion.proto.handover import KNOCK_UNANSWERED
from hyperion.way_out import DEVICE_NAME
from hyperion.worker.addresses import Address
from hyperion.worker.knocker import Knocks


class Step(msgspec.Struct, frozen=True):
    """One step of connecting, how long it took, milliseconds, and how often it was done."""

    name: str
    milliseconds: float
    ok: bool
    count: int = 1


class ConnectFailed(UnreachableError):
    """An attempt failed. ``reason`` is a short stable word, ``steps`` what was tried, ``knocks`` how many went out.

    ``rejected`` is the error number of an ICMP message that came back for a knock, if any did.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str,
        hint: str,
        steps: tuple[Step, ...],
        knocks: int = 0,
        rejected: int | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.steps = steps
        self.knocks = knocks
        self.rejected = rejected


class Tried:
    """What one attempt has done so far, up to a TCP connection."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.addresses: Sequence[Address] = ()
        self.steps: list[Step] = []
        self.knocks = 0
        #: monotonic seconds of the first knock that went out
        self.knocked_at: float | None = None
        self.rejected: int | None = None
        self._knock_failed = False

    def step(self, name: str, began: float, *, ok: bool = True) -> None:
        """The step that began at ``began`` (monotonic seconds) is over."""
        if ok or not self._knock_failed:
            self.steps.append(Step(name, milliseconds(began), ok))

    def note_knocks(self, knocks: Knocks, began: float) -> None:
        """The knocks of this attempt, which began at ``began``, are over."""
        self.knocks, self.knocked_at, self.rejected = knocks.sent, knocks.first_at, knocks.rejected
        self._knock_failed = knocks.first_at is None
        took = milliseconds(began, knocks.first_at)
        self.steps.append(Step("knock", took, not self._knock_failed, knocks.sent))


def milliseconds(began: float, ended: float | None = None) -> float:
    """Between two moments, monotonic seconds; until now, if there is no second one."""
    return round(((time.monotonic() if ended is None else ended) - began) * 1000, 2)


def bad_key(error: HandshakeError) -> ConnectFailed:
    """The configured public key is no point that can be used."""
    return ConnectFailed(
        "the configured server key is not a usable key",
        reason=error.reason,
        hint="compare server_pubkey with what 'hyperion-server keygen' printed on the server",
        steps=(Step("handshake", 0.0, False),),
    )


def connect_failed(error: OSError | UnicodeError, tried: Tried) -> ConnectFailed:
    """There is no TCP connection. UnicodeError: a name that cannot even be asked for."""
    if not tried.addresses:
        late = " in time" if isinstance(error, TimeoutError) else ""
        message, reason = f"cannot resolve {tried.host}{late}", "unresolved"
        hint = "check addr in the configuration, and this machine's name resolution"
    elif isinstance(error, TimeoutError):
        message, reason, hint = _unanswered(tried)
    elif isinstance(error, ConnectionRefusedError):
        message, reason = f"connection refused by {tried.where}", "refused"
        hint = "nothing listens there: is hyperion-server running, and is this its port?"
        if tried.knocks:
            hint += " (an answer at all means that no closed gate is in between)"
    else:
        # The loop's own text ("Connect call failed ...") hides the system's.
        number = error.errno if isinstance(error, OSError) else None
        said = type(error).__name__ if number is None else os.strerror(number).lower()
        message, reason = f"cannot reach {tried.where} ({said})", "unreachable"
        hint = "check the network and the route to the server"
    steps = tuple(tried.steps)
    return ConnectFailed(message, reason=reason, hint=hint, steps=steps, knocks=tried.knocks, rejected=tried.rejected)


def led_into_device(tried: Tried) -> ConnectFailed:
    """All addresses lead into the device of a client under real addresses: no packet of a tunnel must go there."""
    return ConnectFailed(
        f"the way to {tried.where} leads into {DEVICE_NAME}: hyperion-client tun runs here",
        reason="led-into-device",
        hint="connect to that address itself, which tun serves; or end one of the two clients: hyperion-client down",
        steps=(*tried.steps, Step("connect", 0.0, False)),
    )


def _unanswered(tried: Tried) -> tuple[str, str, str]:
    """Message, reason, hint."""
    message, reason = f"no answer from {tried.where}", "connect-timeout"
    if not tried.knocks:
        return message, reason, "is the server up, and does its firewall let this address in?"
    sent = f"{tried.knocks} knocks" if tried.knocks > 1 else "a knock"
    hint = (
        "the server's log says why: HYP1002W if it refused the knock, HYP1103E if its own firewall was in the way, "
        "nothing if it heard none"
    )
    return f"{message}: {sent} went out, and the port did not open", KNOCK_UNANSWERED, hint


def handshake_failed(error: ProtocolError, steps: tuple[Step, ...]) -> ConnectFailed:
    """TCP stands, and there is no tunnel."""
    reason = getattr(error, "reason", "handshake-failed")
    if reason == "bad-psk":
        message = "the server's answer does not authenticate: the shared secret (PSK) differs"
        hint = "compare the passphrase and salt, or the PSK, of both sides"
    elif reason == "handshake-timeout":
        message = "connected, but no answer to the handshake"
        hint = "is it hyperion-server that listens there, and is its load bearable?"
    else:
        message = "the server hung up without an answer, as it does with keys it does not know"
        hint = (
            "does the server list this client's public key (hyperion-server admins there, hyperion-client keygen -y"
            " here), and is server_pubkey the server's present key?"
        )
        reason = "handshake-refused"
    return ConnectFailed(message, reason=reason, hint=hint, steps=steps)
