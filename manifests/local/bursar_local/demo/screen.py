"""What the spectator sees: a live table per cluster and the last events; plain lines where there is no terminal."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

EVENTS = 12
BAR = 18
STYLES = {"good": "green", "bad": "bold red", "step": "bold cyan", "note": ""}


@dataclass(slots=True)
class ClusterView:
    """One cluster's table: balances by project, limits as its scheduler has them, job counts."""

    name: str
    title: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    line: str = ""


class Screen:
    """Collects events and, on a terminal, keeps the tables up to date."""

    def __init__(self, *, live: bool, console: Console | None = None) -> None:
        self._console = console or Console(width=None if live else 140)
        self._live = Live(console=self._console, auto_refresh=False, screen=False) if live else None
        self._events: deque[Text] = deque(maxlen=EVENTS)
        self._began = time.monotonic()
        self.clusters: dict[str, ClusterView] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str, style: str = "note") -> None:
        """One event, with the seconds since the demo began."""
        line = Text(f"{time.monotonic() - self._began:6.1f}s  ", style="dim")
        line.append(text, style=STYLES[style])
        self._events.append(line)
        if self._live:
            self.draw()
        else:
            self._console.print(line)

    def draw(self) -> None:
        """Bring the terminal up to date."""
        if self._live:
            tables = [_table(view) for view in self.clusters.values()]
            self._live.update(
                Group(*tables, Panel(Group(*self._events), title="what happens", title_align="left")), refresh=True
            )

    def result(self, lines: Sequence[tuple[str, str]]) -> None:
        """The closing lines, below everything."""
        for text, style in lines:
            self._console.print(Text(text, style=STYLES[style]))


def _table(view: ClusterView) -> Table:
    table = Table(title=f"{view.title}   {view.line}", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for title in ("PROJECT", "GRANTED h", "USED h", "LEFT h", "", "%", "LIMIT (min, at the scheduler)", "STATE"):
        table.add_column(title, justify="left" if title in {"PROJECT", "", "STATE"} else "right")
    for row in view.rows:
        resource = row["resources"][0]
        limit = view.limits.get(row["account"], {}).get("cpu", {})
        shown = f"{limit['counter']:,} of {limit['limit']:,}" if limit.get("limit") is not None else "-"
        percent = row["usedPercent"]
        style = "red" if row["enforcement"] == "Hold" else "yellow" if row["enforcement"] == "Notify" else ""
        table.add_row(
            row["project"],
            f"{resource['grantedHours']:,}",
            f"{resource['usedHours']:,}",
            f"{resource['leftHours']:,}",
            Text("█" * min(BAR, percent * BAR // 100) + "░" * (BAR - min(BAR, percent * BAR // 100)), style=style or "green"),
            str(percent),
            shown,
            Text(row["enforcement"], style=style),
        )
    return table
