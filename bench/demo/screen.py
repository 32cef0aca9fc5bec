"""What the demonstration shows: steps, checks, a progress bar, tables. Knows rich, and nothing of tunnels.

Without a terminal everything is plain text, and progress is a line each quarter.
"""

import contextlib
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from bench.bulk import Progress as Report

#: Lines in which progress is told without a terminal.
QUARTERS = 4

#: Columns for output that is no terminal.
PLAIN_WIDTH = 120


class Screen:
    """Writes to standard output and keeps count of the checks."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        if not self._console.is_terminal:
            self._console.width = PLAIN_WIDTH
        self.failed: list[str] = []
        self.passed = 0

    def step(self, text: str) -> None:
        self._console.print(f"\n{text}", style="bold", markup=False)

    def say(self, text: str) -> None:
        self._console.print(f"  {text}", markup=False)

    def check(self, text: str, *, good: bool) -> None:
        """Show a check and remember how it ended."""
        if good:
            self.passed += 1
        else:
            self.failed.append(text)
        mark = "[green]ok[/green]    " if good else "[bold red]FAILED[/bold red]"
        self._console.print(f"  {mark} ", end="")
        self._console.print(text, markup=False)

    def error(self, text: str) -> None:
        self._console.print(text, style="bold red", markup=False)

    def log(self, name: str, lines: Sequence[str]) -> None:
        """The last lines of a part that failed."""
        self._console.print(f"  last lines of {name}:", markup=False)
        for line in lines or ["(it said nothing)"]:
            self._console.print(f"    {line}", style="dim", markup=False)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
        """Columns in ``right`` (from 0) hold numbers."""
        table = Table(box=None, pad_edge=True, header_style="dim")
        for index, title in enumerate(header):
            table.add_column(title, justify="right" if index in right else "left", no_wrap=index < len(header) - 1)
        for row in rows:
            table.add_row(*row)
        self._console.print(table, markup=False)

    @contextlib.contextmanager
    def progress(self, text: str, size: int) -> Iterator[Report]:
        """A bar while ``size`` bytes move; call what it gives with the bytes moved so far."""
        if not self._console.is_terminal:
            yield self._plain_progress(text, size)
            return
        columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(True), TransferSpeedColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(text, total=size)
            yield lambda done: bar.update(task, completed=done)

    def _plain_progress(self, text: str, size: int) -> Report:
        told = 0

        def report(done: int) -> None:
            nonlocal told
            quarter = done * QUARTERS // size
            if quarter > told:
                told = quarter
                self.say(f"{text}: {quarter * 100 // QUARTERS} %")

        return report
