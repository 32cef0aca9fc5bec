"""Results for people: two tables, on the terminal by rich and in ``docs/benchmarks.md`` as Markdown.

``python -m bench.report results.json`` shows a saved run; with ``--write docs/benchmarks.md`` it replaces the section
between the two marker lines of that file, and nothing else of it.
"""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import stats
from bench.plan import FIGURES, Figure, Results, decode_results
from bench.targets import HYPERION, judge

#: The section that is replaced stands between these lines.
BEGIN = "<!-- results: written by python -m bench.report -->"
END = "<!-- end of results -->"

#: Columns for output that is no terminal: the widest table.
PLAIN_WIDTH = 150

Rows = list[list[str]]


def figure_rows(results: Results) -> Rows:
    """Header and one row a figure: each peer's median and spread, and how hyperion compares with it."""
    keys = [key for key in FIGURES if results.values.get(key)]
    others = [peer for peer in results.peers(keys) if peer != HYPERION]
    rows = [["figure", "unit", HYPERION, *others]]
    for key in keys:
        cells = [FIGURES[key].title, FIGURES[key].unit, value_cell(results, key, HYPERION)]
        rows.append(cells + [peer_cell(results, FIGURES[key], peer) for peer in others])
    return rows


def value_cell(results: Results, key: str, peer: str) -> str:
    """Median and half the range in percent: ``512 ±4 %``; a dash if it was not measured."""
    values = results.of(key, peer)
    if not values:
        return "-"
    found = stats.spread(values)
    return f"{number(found.median)} ±{found.percent:.0f} %" if found.count > 1 else number(found.median)


def peer_cell(results: Results, figure: Figure, peer: str) -> str:
    """A peer's value with hyperion's ratio to it: ``210 ±3 % (x2.10)``."""
    cell = value_cell(results, figure.key, peer)
    ours, theirs = results.of(figure.key, HYPERION), results.of(figure.key, peer)
    return f"{cell} (x{stats.ratio(ours, theirs):.2f})" if ours and theirs and any(theirs) else cell


def target_rows(results: Results) -> Rows:
    """Header and one row a target."""
    rows = [["figure", "target", "found", ""]]
    for verdict in judge(results):
        found = "not measured" if verdict.found is None else f"{verdict.found:.2f}"
        title = FIGURES[verdict.target.figure].title
        rows.append([title, verdict.target.text, found, "met" if verdict.met else "NOT MET"])
    return rows


def number(value: float) -> str:
    """Three digits that mean something, no exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def about(results: Results) -> list[str]:
    """Lines on the machine and the run."""
    machine = "; ".join(f"{key} {value}" for key, value in results.machine.items() if value)
    settings = ", ".join(f"{key} {value}" for key, value in results.settings.items())
    return [f"Machine: {machine}.", f"Run: {settings}."]


def make_console() -> Console:
    """Into a file the tables go in full width; a terminal has the width it has."""
    console = Console()
    return console if console.is_terminal else Console(width=PLAIN_WIDTH)


def show(results: Results, console: Console) -> None:
    for rows in tables(results):
        table = Table(*rows[0])
        for row in rows[1:]:
            table.add_row(*row, style="bold red" if row[-1] == "NOT MET" else None)
        console.print(table)
    for line in about(results):
        console.print(line, highlight=False)
    for failure in results.failures:
        console.print(f"not measured: {failure}", style="red", highlight=False)


def tables(results: Results) -> list[Rows]:
    """The tables that have more than a header."""
    return [rows for rows in (figure_rows(results), target_rows(results)) if len(rows) > 1]


def markdown(results: Results) -> str:
    """The section of the documentation, without its marker lines."""
    parts = ["\n\n".join(about(results)), *map(markdown_table, tables(results))]
    parts += [f"Not measured: {failure}." for failure in results.failures]
    return "\n\n".join(parts)


def markdown_table(rows: Rows) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def replace_section(text: str, section: str, begin: str = BEGIN, end: str = END) -> str:
    """The document with a new section. Raises ValueError if the marker lines are not there, once each and in order."""
    before, found_begin, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end):
        raise ValueError(f"the document needs the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n\n{section}\n\n{end}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.report", description="show a saved run")
    parser.add_argument("file", type=Path, help="what --json of python -m bench wrote")
    parser.add_argument("--write", type=Path, metavar="DOCUMENT", help="replace the results section of this document")
    options = parser.parse_args()
    results = decode_results(json.loads(options.file.read_text(encoding="utf-8")))
    if options.write is None:
        show(results, make_console())
        return
    document = options.write.read_text(encoding="utf-8")
    options.write.write_text(replace_section(document, markdown(results)), encoding="utf-8")


if __name__ == "__main__":
    main()
