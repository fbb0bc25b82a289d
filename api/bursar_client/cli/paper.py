"""What the one-screen commands draw on: lines that are never wider than the screen, bars, marks; plain where it has to be."""

import os
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

NARROWEST = 40
WIDEST = 120


@dataclass(frozen=True, slots=True)
class Paper:
    """``width`` columns; ``plain``: ASCII alone, for files, pipes, old terminals and whoever set NO_COLOR."""

    width: int = 80
    plain: bool = True

    @classmethod
    def of(cls, console: Console, environment: Mapping[str, str]) -> "Paper":
        """What a console can show."""
        unicode = console.is_terminal and console.encoding.lower().startswith("utf")
        plain = not unicode or bool(environment.get("NO_COLOR")) or console.legacy_windows
        return cls(max(NARROWEST, min(WIDEST, console.width)), plain)

    def bar(self, share: float, cells: int) -> str:
        """`████░░░░`, or `[###...]` of the same width; any use at all fills a cell, and only all of it the last one."""
        inner = cells if not self.plain else cells - 2
        filled = max(0, min(inner, int(share * inner)))
        if share > 0 and filled == 0:
            filled = 1
        full, empty, left, right = ("#", ".", "[", "]") if self.plain else ("█", "░", "", "")
        return f"{left}{full * filled}{empty * (inner - filled)}{right}"

    def crop(self, text: str, width: int) -> str:
        """The text, or its beginning with a mark that it goes on."""
        mark = "~" if self.plain else "…"
        text = self.safe(text)
        return text if len(text) <= width else text[: max(0, width - 1)] + mark

    def safe(self, text: str) -> str:
        """Letters that take one cell each: nothing that moves the cursor, and ASCII where nothing else may be shown."""
        printable = "".join(letter if letter.isprintable() and cell_len(letter) == 1 else "?" for letter in text)
        return printable.encode("ascii", "replace").decode() if self.plain else printable

    def flow(self, head: str | Text, parts: Iterable[str | Text], indent: int) -> Iterator[Text]:
        """Head and parts, two blanks apart, on as many lines as it takes; what follows the first line is indented."""
        line = self._fitting(head, self.width)
        line.append(" " * (indent - len(line)))
        fresh = not line.plain.strip()
        for part in parts:
            piece = self._fitting(part, self.width - indent)
            gap = 0 if fresh or line.plain.endswith("  ") else 2
            if len(line) + gap + len(piece) > self.width and not fresh:
                yield _without_trailing_blanks(line)
                line, gap = Text(" " * indent), 0
            line.append(" " * gap)
            line.append_text(piece)
            fresh = False
        yield _without_trailing_blanks(line)

    def _fitting(self, part: str | Text, width: int) -> Text:
        piece = part if isinstance(part, Text) else Text(part)
        return Text(self.crop(piece.plain, width), style=piece.style)

    def paragraph(self, text: str, indent: int = 0) -> Iterator[Text]:
        """A sentence, broken between its words."""
        for line in textwrap.wrap(self.safe(text), self.width - indent, break_long_words=True):
            yield Text(" " * indent + line)


def _without_trailing_blanks(line: Text) -> Text:
    line.rstrip()
    return line


def screen() -> tuple[Console, Paper]:
    """Standard output as it is."""
    console = Console(file=sys.stdout, highlight=False, markup=False, emoji=False)
    return console, Paper.of(console, os.environ)


def put(lines: Iterable[Text]) -> None:
    """Print lines that were drawn for this screen."""
    console, _ = screen()
    for line in lines:
        console.print(line, soft_wrap=True)


def day(instant: str) -> str:
    """`2026-10-01` of an instant."""
    return instant[:10]


def last_day(instant: str) -> str:
    """The day that ends with an instant, where the instant is a midnight; else the day and time."""
    at = datetime.fromisoformat(instant)
    return f"{at:%Y-%m-%d %H:%M}" if (at.hour, at.minute) != (0, 0) else f"{at:%Y-%m-%d}"


def moment(instant: str) -> str:
    """`2026-10-01 06:15 UTC`."""
    return f"{datetime.fromisoformat(instant):%Y-%m-%d %H:%M} UTC"


def number(hours: int) -> str:
    """With thousands marked."""
    return f"{hours:,}"
