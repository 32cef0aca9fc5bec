"""What ``bench.transparent`` measured, for people: a table, each target, and the section of the documentation."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench import machine
from bench.report import Rows, markdown_table, number

#: What issue 6 asks for: at least so much of the local forward; tund at most so many MB; wireguard-go times so much.
BULK_SHARE, CONNECTION_SHARE, TUND_MB, WIREGUARD_TIMES = 0.85, 0.8, 15.0, 2.0

FORWARD, FAKE, WIREGUARD = "local forward", "fake address", "wireguard-go"
CONNECTIONS = "connections, 1/s"

BEGIN = "<!-- transparent mode: written by python -m bench.transparent -->"
END = "<!-- end of transparent mode -->"


@dataclass(frozen=True, slots=True)
class Measured:
    """``values`` by figure and way; tund's seconds of processor for each GB, and its memory in MB (PSS)."""

    values: Mapping[tuple[str, str], Sequence[float]]
    names: Sequence[str]
    cpu: float
    pss: float
    settings: Mapping[str, object] = field(default_factory=dict)
    missing: Sequence[str] = ()

    def median(self, figure: str, name: str) -> float:
        return statistics.median(self.values[figure, name])

    @property
    def figures(self) -> list[str]:
        return list(dict.fromkeys(figure for figure, _ in self.values))


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target, and what was found."""

    what: str
    found: float
    bound: float
    unit: str
    least: bool = True

    @property
    def met(self) -> bool:
        return self.found >= self.bound if self.least else self.found <= self.bound

    @property
    def target(self) -> str:
        return f"{'>=' if self.least else '<='} {self.bound:g}{self.unit}"


def table(measured: Measured) -> Rows:
    """Header and one row a figure: the median of each way, and half its range in percent."""
    rows = [["", *measured.names]]
    for figure in measured.figures:
        cells = [cell(measured.values.get((figure, name), ())) for name in measured.names]
        rows.append([figure, *cells])
    return rows


def cell(values: Sequence[float]) -> str:
    """``512 ±4 %``, ``512`` if it was measured once; a dash if it was not measured."""
    if not values:
        return "-"
    middle = statistics.median(values)
    if len(values) == 1:
        return number(middle)
    return f"{number(middle)} ±{50 * (max(values) - min(values)) / middle:.0f} %"


def judge(measured: Measured) -> list[Verdict]:
    """Ratios of the medians of one run."""
    found = [Verdict("tund's memory", measured.pss, TUND_MB, " MB", least=False)]
    for figure in measured.figures:
        least = CONNECTION_SHARE if figure == CONNECTIONS else BULK_SHARE
        short = figure.partition(",")[0]
        fake = measured.median(figure, FAKE)
        found.append(Verdict(f"{short}: {FAKE} / {FORWARD}", fake / measured.median(figure, FORWARD), least, " x"))
        if (figure, WIREGUARD) in measured.values:
            times = fake / measured.median(figure, WIREGUARD)
            found.append(Verdict(f"{short}: {FAKE} / {WIREGUARD}", times, WIREGUARD_TIMES, " x"))
    return found


def tund_line(measured: Measured) -> str:
    return f"tund: {measured.pss:.1f} MB (PSS), {measured.cpu:.2f} s of processor for each GB"


def show(measured: Measured) -> int:
    """Prints all of it; 1 if a target is not met."""
    rows = table(measured)
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(len(rows[0]))]
    print()
    for row in rows:
        print(
            "".join(
                text.rjust(width) if at else text.ljust(width)
                for at, (text, width) in enumerate(zip(row, widths, strict=True))
            )
        )
    print(f"{tund_line(measured)}\n")
    verdicts = judge(measured)
    for each in verdicts:
        print(f"{'met' if each.met else 'NOT met':8}{each.what}: {each.found:.2f}{each.unit} ({each.target})")
    return 0 if all(each.met for each in verdicts) else 1


def markdown(measured: Measured) -> str:
    """The section of the documentation, without its marker lines."""
    facts = "; ".join(f"{key} {value}" for key, value in machine.facts().items() if value)
    run = ", ".join(f"{key} {value}" for key, value in measured.settings.items())
    verdicts = [["figure", "target", "found", ""]]
    verdicts += [
        [each.what, each.target, f"{each.found:.2f}", "met" if each.met else "NOT MET"] for each in judge(measured)
    ]
    parts = [f"Machine: {facts}.", f"Run: {run}.", markdown_table(table(measured)), f"{tund_line(measured)}."]
    parts += [markdown_table(verdicts), *(f"Not measured: {each}." for each in measured.missing)]
    return "\n\n".join(parts)
