"""What the two ways to nftables have in common: the few verbs needed, and how a failure is told.

Knows nft's own words for what went wrong. Knows nothing of Hyperion's table (``ruleset``) and of how the words are
brought to the kernel (``nft_library``, ``nft_program``).
"""

import re
from typing import Protocol

from hyperion.errors import HyperionError

#: Longest part of nft's complaint that is passed on, characters: it repeats our own text, which may be long.
MAX_COMPLAINT = 200

_INSTALL = "install nftables (Debian and Ubuntu: apt-get install nftables python3-nftables)"


class FirewallError(HyperionError):
    """The firewall could not be read or changed. ``reason`` is a stable word for logs and ``status``."""

    exit_code = 69
    reason = "nft-failed"


class NftMissingError(FirewallError):
    """Neither the library nor the program is there, or the program cannot be run."""

    reason = "nft-missing"

    def __init__(self, message: str = "nftables is not installed") -> None:
        super().__init__(message, hint=_INSTALL)


class NftTimeoutError(FirewallError):
    """The program did not come back in time and was killed. What it was to do was either done whole or not at all."""

    exit_code = 75
    reason = "nft-timeout"


class NotPermittedError(FirewallError):
    """We lack CAP_NET_ADMIN in this network namespace."""

    exit_code = 77
    reason = "not-permitted"


class NoSuchObjectError(FirewallError):
    """The table, a set or an element is not there."""

    reason = "table-missing"


class SetFullError(FirewallError):
    """The set holds as many sources as it may."""

    reason = "set-full"


class Backend(Protocol):
    """One way to nftables. Each call blocks; each raises ``FirewallError``.

    Lists are asked for in words (``"table", "inet", "hyperion"``), which the caller has validated.
    """

    @property
    def name(self) -> str:
        """For logs: ``hyperion.firewall.backend``."""

    def load(self, commands: str) -> None:
        """Do all of ``commands`` (nft's text language) in one transaction, or nothing of it."""

    def check(self, commands: str) -> None:
        """As ``load``, but change nothing. The kernel is asked, so it needs the same rights."""

    def list_text(self, *what: str, handles: bool = False) -> str:
        """The listing without counters and elements: equal texts mean equal rules. ``handles``: with the numbers that
        the kernel gives to each thing when it is made (``listing.split_handles``)."""

    def list_whole(self, *what: str) -> str:
        """The listing with all there is: counters, elements, the time they have left."""

    def list_json(self, *what: str) -> str:
        """The listing with elements, as JSON."""


def failure(complaint: str) -> FirewallError:
    """The error that nft's output on failure stands for."""
    line = _first_line(complaint)
    if "Operation not permitted" in complaint or "Permission denied" in complaint:
        return NotPermittedError("no right to change the firewall", hint="it takes root, or CAP_NET_ADMIN")
    if "No such file or directory" in complaint:
        return NoSuchObjectError(f"not in the firewall: {line}")
    # ENFILE: what the kernel says of a set that has reached its size.
    if "Too many open files in system" in complaint:
        return SetFullError("the firewall's set of admitted sources is full")
    return FirewallError(f"nft: {line}")


def _first_line(complaint: str) -> str:
    """nft's first line, without the place in our own text; it goes on with that text and a pointer into it."""
    lines = complaint.strip().splitlines() or ["failed without a word"]
    return re.sub(r"^\S*:\d+:[\d-]+: ", "", lines[0]).removeprefix("Error: ")[:MAX_COMPLAINT]
