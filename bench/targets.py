"""The figures issue 3 asks for, and whether a run met them: ratios of medians of one run, or medians themselves."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench import stats
from bench.plan import FIGURES, Results

HYPERION = "hyperion"
RELAY = "uvloop relay"
SSH_CHACHA = "ssh -L chacha20"
SSH_AES = "ssh -L aes128-gcm"


@dataclass(frozen=True, slots=True)
class Target:
    """``figure`` of hyperion at least (if less is better: at most) ``bound`` times the peer's, or ``bound`` units."""

    figure: str
    bound: float
    peer: str | None = None

    @property
    def text(self) -> str:
        sign = "<=" if FIGURES[self.figure].less_is_better else ">="
        unit = f"x {self.peer}" if self.peer else FIGURES[self.figure].unit
        return f"{sign} {self.bound:g} {unit}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found for a target; ``found`` None: not measured, so not met."""

    target: Target
    found: float | None
    met: bool


def _bulk(figure: str) -> tuple[Target, ...]:
    return Target(figure, 1.25, SSH_CHACHA), Target(figure, 0.8, SSH_AES), Target(figure, 0.5, RELAY)


def _small(figure: str, bound: float) -> tuple[Target, ...]:
    return Target(figure, bound, SSH_CHACHA), Target(figure, bound, SSH_AES)


TARGETS = (
    *_bulk("bulk-up"),
    *_bulk("bulk-down"),
    *_small("connections", 0.9),
    *_small("round-trip-p50", 1.5),
    *_small("round-trip-p99", 1.0),
    *_small("busy-round-trip-p50", 1.5),
    *_small("busy-round-trip-p99", 1.0),
    Target("worker-start", 150),
    Target("worker-memory", 8),
    Target("idle-stream-client", 8),
    Target("idle-stream-server", 8),
)


def judge(results: Results, targets: Iterable[Target] = TARGETS) -> list[Verdict]:
    """A verdict for each target whose figure the run measured; none at all for a run without hyperion."""
    if HYPERION not in results.peers():
        return []
    return [judge_one(results, target) for target in targets if results.values.get(target.figure)]


def judge_one(results: Results, target: Target) -> Verdict:
    ours = results.of(target.figure, HYPERION)
    theirs = results.of(target.figure, target.peer) if target.peer else [1.0]
    if not ours or not theirs:
        return Verdict(target, None, met=False)
    found = stats.ratio(ours, theirs)
    met = found <= target.bound if FIGURES[target.figure].less_is_better else found >= target.bound
    return Verdict(target, found, met)
