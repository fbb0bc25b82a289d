"""Shows the parts: a live list on a terminal, one line per change elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bursar_local.state import PartState, State

_COLOURS = {
    State.STARTING: "yellow",
    State.READY: "green",
    State.NOT_READY: "yellow",
    State.STOPPING: "yellow",
    State.ENDED: "dim",
    State.DIED: "bold red",
}


class Board:
    """Keeps the last state of each part and shows it."""

    def __init__(self, console: Console, directory: Path) -> None:
        self._console = console
        self._directory = directory
        self._parts: dict[str, PartState] = {}
        self._hints: list[str] = []
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the live list while the block runs (on a terminal only)."""
        if not self._console.is_terminal:
            yield
            return
        with Live(self._render(), console=self._console, refresh_per_second=4) as live:
            self._live = live
            try:
                yield
            finally:
                live.update(self._render(), refresh=True)
                self._live = None

    def report(self, change: PartState) -> None:
        """Take a change; what it leaves out stays as it was."""
        before = self._parts.get(change.name)
        if before:
            address, log = change.address or before.address, change.log or before.log
            change = PartState(change.name, change.state, address, log, change.pid or before.pid)
        self._parts[change.name] = change
        if self._live:
            self._live.update(self._render())
        else:
            self._line(f"{change.name}: {change.state}" + (f" at {change.address}" if change.state is State.READY else ""))

    def say(self, message: str) -> None:
        """A line of progress, above the list."""
        self._line(message)

    def hint(self, *lines: str) -> None:
        """Lines below the list (plain output: printed once)."""
        self._hints = list(lines)
        if self._live:
            self._live.update(self._render())
        else:
            for line in lines:
                self._line(line)

    def _line(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def _render(self) -> RenderableType:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("PART", "STATE", "ADDRESS", "LOG"):
            table.add_column(column, overflow="fold")
        for part in self._parts.values():
            state = Text(part.state, style=_COLOURS[part.state])
            table.add_row(Text(part.name), state, Text(part.address), Text(self._short(part.log)))
        return Group(table, *(Text(line) for line in self._hints))

    def _short(self, log: Path | None) -> str:
        """Relative to the stack's directory, which the hints name."""
        return "" if log is None else str(log.relative_to(self._directory) if log.is_relative_to(self._directory) else log)
