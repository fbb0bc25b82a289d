"""`bursar usage`, drawn: a bar per user, month or whatever the rows are grouped by; the small ones together."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.text import Text

from bursar_client.cli.paper import Paper, last_day, moment, number

Obj = dict[str, Any]
LINES: Final = 20
FEWEST: Final = 3
IN_TIME: Final = frozenset({"month", "day"})


class Bar(NamedTuple):
    """One line: what it is called, unit-seconds, and how many of them make an hour as people write it."""

    label: str
    seconds: int
    per_hour: int

    @property
    def hours(self) -> int:
        """Rounded up, as all that was used."""
        return -(-self.seconds // self.per_hour)


def draw(found: Obj, by: str, paper: Paper) -> Iterator[Text]:
    """The whole screen."""
    if not found["items"]:
        yield Text(f"no use{_between(found)}")
    groups = bars(found["items"], by)
    room = max(FEWEST, LINES // max(1, len(groups)) - 1)
    for (cluster, resource), items in groups.items():
        total = _sum("", items).hours
        title = f"{resource} hours on {cluster}{_between(found)}: {number(total)}"
        yield Text(paper.crop(title, paper.width), style="bold")
        yield from _chart(few(items, room, in_time=by in IN_TIME), paper)
    for cluster, as_of in sorted(found["asOf"].items()):
        yield Text(paper.crop(f"{cluster}: complete up to {moment(as_of)}", paper.width), style="dim")


def bars(rows: Sequence[Obj], by: str) -> Mapping[tuple[str, str], list[Bar]]:
    """(cluster, resource) -> bars: in time where they are of time, else the longest first."""
    sums: defaultdict[tuple[str, str], defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    per_hour = {(row["cluster"], row["resource"]): int(row["secondsPerHour"]) for row in rows}
    for row in rows:
        sums[row["cluster"], row["resource"]][label(row, by)] += row["charged"]
    return {key: _ordered(cells, by, per_hour[key]) for key, cells in sorted(sums.items())}


def label(row: Obj, by: str) -> str:
    """What a line is called; an account by its project where that has another name."""
    if by in ("account", "resource"):
        return str(row["project"])
    if by == "allocation":
        return f"{row['project']} / {row['allocation'] or '(none was active)'}"
    return str(row[by])


def _ordered(cells: Mapping[str, int], by: str, per_hour: int) -> list[Bar]:
    found = [Bar(name, seconds, per_hour) for name, seconds in cells.items()]
    return sorted(found) if by in IN_TIME else sorted(found, key=lambda bar: (-bar.seconds, bar.label))


def few(items: Sequence[Bar], room: int, *, in_time: bool) -> list[Bar]:
    """As many as there is room for: the newest, or the longest; the rest is summed in one more line."""
    if len(items) <= room:
        return list(items)
    shown, rest = (items[-room + 1 :], items[: -room + 1]) if in_time else (items[: room - 1], items[room - 1 :])
    words = f"{len(rest)} before" if in_time else f"{len(rest)} others"
    together = _sum(words, rest)
    return [together, *shown] if in_time else [*shown, together]


def _sum(label: str, items: Sequence[Bar]) -> Bar:
    return Bar(label, sum(bar.seconds for bar in items), items[0].per_hour)


def _chart(items: Sequence[Bar], paper: Paper) -> Iterator[Text]:
    longest, total = max(bar.seconds for bar in items), sum(bar.seconds for bar in items)
    figures = [f"{number(bar.hours)} {_percent(bar.seconds, total):>4}" for bar in items]
    right = max(map(len, figures))
    left = min(max(len(bar.label) for bar in items), max(8, (paper.width - right - 6) // 2))
    cells = max(5, min(40, paper.width - left - right - 6))
    for bar, figure in zip(items, figures, strict=True):
        line = Text(f"  {paper.crop(bar.label, left):<{left}}  ")
        line.append(paper.bar(bar.seconds / longest if longest > 0 else 0, cells), style="cyan")
        line.append(f"  {figure:>{right}}")
        yield line


def _percent(part: int, whole: int) -> str:
    return f"{part * 100 // whole}%" if whole > 0 else "-"


def _between(found: Obj) -> str:
    start, end = found.get("start"), found.get("end")
    return (f" from {last_day(start)}" if start else "") + (f" to {last_day(end)}" if end else "")
