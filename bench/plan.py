"""What a run does and what it found: sizes, figures, results. No measuring here."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MIB = 1024 * 1024

#: The shape of the JSON file; a reader refuses any other.
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    repetitions: int = 5
    #: Memory is measured on fresh processes each time, which takes as long as starting them.
    memory_repetitions: int = 3
    bulk_bytes: int = 1024 * MIB
    parallel_streams: int = 10
    storm_connections: int = 5_000
    storm_concurrency: int = 64
    round_trip_bytes: int = 1024
    round_trips: int = 3_000
    #: With a bulk transfer beside it: fewer, for they take longer.
    busy_round_trips: int = 1_000
    idle_streams: int = 2_000
    idle_steps: int = 4
    client_workers: int = 40
    restarts: int = 5


#: Everything once and small: shows that the harness works, says nothing about speed.
QUICK = Plan(
    repetitions=1,
    memory_repetitions=1,
    bulk_bytes=16 * MIB,
    storm_connections=200,
    round_trips=50,
    busy_round_trips=20,
    idle_streams=80,
    idle_steps=2,
    client_workers=3,
    restarts=1,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One thing that is measured, with its unit. Better is more unless ``less_is_better``."""

    key: str
    title: str
    unit: str
    less_is_better: bool = False


_FIGURES = (
    Figure("bulk-up", "bulk up, 1 stream", "MB/s"),
    Figure("bulk-down", "bulk down, 1 stream", "MB/s"),
    Figure("bulk-up-many", "bulk up, 10 streams", "MB/s"),
    Figure("bulk-down-many", "bulk down, 10 streams", "MB/s"),
    Figure("connections", "new connections at concurrency 64", "1/s"),
    Figure("round-trip-p50", "1 KiB round trip, idle, p50", "us", less_is_better=True),
    Figure("round-trip-p99", "1 KiB round trip, idle, p99", "us", less_is_better=True),
    Figure("busy-round-trip-p50", "1 KiB round trip beside bulk, p50", "us", less_is_better=True),
    Figure("busy-round-trip-p99", "1 KiB round trip beside bulk, p99", "us", less_is_better=True),
    Figure("idle-stream-client", "idle stream, client side", "KB", less_is_better=True),
    Figure("idle-stream-server", "idle stream, server side", "KB", less_is_better=True),
    Figure("worker-start", "worker start, spawn to ready", "ms", less_is_better=True),
    Figure("worker-memory", "client worker, PSS each", "MB", less_is_better=True),
    Figure("worker-memory-total", "client with all workers, PSS", "MB", less_is_better=True),
)
FIGURES = {figure.key: figure for figure in _FIGURES}

#: Figure key to value, from one measurement.
Values = dict[str, float]


@dataclass(slots=True)
class Results:
    """Every value seen: figure, then peer, then repetitions in order. And what could not be measured, and why."""

    machine: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def add(self, peer: str, values: Values) -> None:
        for key, value in values.items():
            self.values.setdefault(FIGURES[key].key, {}).setdefault(peer, []).append(value)

    def of(self, key: str, peer: str) -> list[float]:
        """Values of one figure for one peer; empty if it was not measured."""
        return self.values.get(key, {}).get(peer, [])

    def peers(self, keys: Iterable[str] | None = None) -> list[str]:
        """Peers with at least one of these figures, in the order in which they were first measured."""
        wanted = self.values if keys is None else keys
        return list(dict.fromkeys(peer for key in wanted for peer in self.values.get(key, {})))

    def encode(self) -> dict[str, Any]:
        """Plain data for a JSON file."""
        return {
            "schema": SCHEMA,
            "machine": self.machine,
            "settings": self.settings,
            "values": self.values,
            "failures": self.failures,
        }


def decode_results(data: dict[str, Any]) -> Results:
    """The inverse of ``encode``. Raises ValueError on another schema or an unknown figure."""
    if data.get("schema") != SCHEMA:
        raise ValueError(f"not results of schema {SCHEMA}")
    unknown = set(data["values"]) - set(FIGURES)
    if unknown:
        raise ValueError(f"unknown figures: {', '.join(sorted(unknown))}")
    return Results(data["machine"], data["settings"], data["values"], data["failures"])
