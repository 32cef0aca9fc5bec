"""The running server, as far as a trial needs it: it holds its guard off, and tells who got in.

Knows what counts as proof. A session alone is none: a grant from before may have let it in while nobody hears knocks
any more. So both are wanted, of one source: a knock that was admitted since the rules were loaded, and a session that
opened after it over a connection that did not exist when they were.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from hyperion.trial.connections import Address, Connection, parse_address


@dataclass(frozen=True, slots=True)
class Knock:
    """A source that was admitted, at Unix seconds."""

    source: str
    at: float


@dataclass(frozen=True, slots=True)
class Session:
    """A session that opened, at Unix seconds."""

    source: str
    source_port: int
    at: float


class Witness(Protocol):
    """A server, running or not. Nothing here raises: who does not answer knows nothing."""

    async def hold(self, seconds: float) -> str | None:
        """Its guard restores nothing for so long; 0: it takes what is there for right. ``None``: so it is, or there is
        no server; else why not, for people."""

    async def heard(self, since: float) -> tuple[list[Knock], list[Session]] | None:
        """What came since then (Unix seconds); ``None``: there is no server, or it does not answer."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """``proven_by``: the source that got in, or ``None``. ``half``: what else was seen, source and word."""

    proven_by: str | None
    half: frozenset[tuple[str, str]]


def judge(knocks: Iterable[Knock], sessions: Iterable[Session], since: float, old: Iterable[Connection]) -> Judgement:
    """``since``: when the rules were loaded; ``old``: the connections that there were then."""
    known = {(one.remote, one.remote_port) for one in old}
    local = {one.local for one in old}
    knocked = {
        _address(knock.source): knock.at for knock in sorted(knocks, key=lambda one: -one.at) if knock.at >= since
    }
    half = {(str(source), "knock") for source in knocked}
    for session in sessions:
        source = _address(session.source)
        # Through the loopback interface nothing is proven, and an old connection is older than the rules.
        if session.at < since or source.is_loopback or source in local or (source, session.source_port) in known:
            continue
        if source in knocked and knocked[source] <= session.at:
            return Judgement(str(source), frozenset(half))
        half.add((str(source), "session"))
    return Judgement(None, frozenset(half))


def _address(text: str) -> Address:
    return parse_address(text)
