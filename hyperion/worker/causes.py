"""Why a gate may have stayed shut although knocks went out, the likeliest cause first.

A server with a closed gate and a server that is off look alike from outside: that is what the gate is for. So this
weighs the little that shows on this side. Pure, but for ``clock_is_synchronised``.
"""

import ctypes
import errno

import msgspec

#: ``adjtimex(2)`` gives this when no time service keeps the clock.
_TIME_ERROR = 5
#: Room for ``struct timex``, bytes: 208 on 64-bit Linux.
_TIMEX_BYTES = 512
#: So many knocks in a row are not lost by chance: one in 250 at a loss of one half.
MANY_KNOCKS = 8


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What this side knows. ``rejected``: error number of an ICMP message about a knock; ``synchronised``: whether a
    time service keeps our clock, None if the system does not tell."""

    knock_port: int
    tunnel_port: int
    knocks: int
    rejected: int | None = None
    synchronised: bool | None = None


def causes_of_silence(evidence: Evidence) -> tuple[str, ...]:
    """One line each."""
    ranked = [
        (_clock_weight(evidence), _clock(evidence)),
        (60, "the passphrase, salt or PSK differs, or server_pubkey is not this server's key"),
        (50, _blocked(evidence)),
        (40, _elsewhere(evidence)),
        (30, "the server is down, or hyperion-server does not run there, or its gate is not in order (HYP1105E)"),
    ]
    if evidence.knocks < MANY_KNOCKS:
        ranked.append((55, "the knocks were lost on the way: try again, or with a longer --timeout"))
    if evidence.rejected is not None:
        ranked.append((100, _rejected(evidence)))
    return tuple(cause for _, cause in sorted(ranked, key=lambda item: -item[0]))


def _clock_weight(evidence: Evidence) -> int:
    return {False: 90, None: 58, True: 20}[evidence.synchronised]


def _clock(evidence: Evidence) -> str:
    found = {
        False: ": no time service keeps it (see timedatectl)",
        None: "",
        True: ", although a time service keeps this one",
    }[evidence.synchronised]
    return f"this machine's clock is more than the server's window (30 s) off the server's{found}"


def _blocked(evidence: Evidence) -> str:
    if evidence.knock_port == evidence.tunnel_port:
        ports = f"UDP or TCP port {evidence.tunnel_port} is"
    else:
        ports = f"UDP port {evidence.knock_port} or TCP port {evidence.tunnel_port} is"
    return f"{ports} blocked on the way (this network, a provider, a cloud's own firewall)"


def _elsewhere(evidence: Evidence) -> str:
    ports = f"its listen must have port {evidence.tunnel_port}, its [knock] knock_port must be {evidence.knock_port}"
    return f"the server listens elsewhere: {ports}"


def _rejected(evidence: Evidence) -> str:
    if evidence.rejected != errno.ECONNREFUSED:
        return "a router on the way says that the server cannot be reached (ICMP)"
    what = f"the machine at this address rejects UDP port {evidence.knock_port} (ICMP): its firewall does not drop "
    return f"{what}everything, so it is another machine, or one without the gate's rules"


def clock_is_synchronised() -> bool | None:
    """Whether the kernel holds this machine's clock for synchronised; None where it cannot be asked."""
    try:
        adjtimex = ctypes.CDLL(None).adjtimex
    except (AttributeError, OSError, TypeError):
        return None
    state = int(adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))  # all zero: only asks
    return None if state < 0 else state != _TIME_ERROR
