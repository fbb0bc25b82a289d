"""`bursar balance`, drawn: two or three lines per allocation, what is wrong in words."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from rich.text import Text

from bursar_client.cli.paper import Paper, day, last_day, moment, number

Obj = dict[str, Any]
INDENT: Final = 2
NAME: Final = 8
IN_WORDS: Final[Mapping[str, str]] = {
    "Notify": "near its end",
    "Throttle": "throttled: fewer jobs run at one time",
    "SoftLand": "soft landing: jobs run at low priority",
    "Hold": "held: waiting jobs stay waiting",
    "Block": "blocked: no new jobs are taken",
}
STYLES: Final[Mapping[str, str]] = {
    "Notify": "yellow",
    "Throttle": "yellow",
    "SoftLand": "yellow",
    "Hold": "red",
    "Block": "red",
}


def draw(rows: Sequence[Obj], paper: Paper) -> Iterator[Text]:
    """The whole screen."""
    if not rows:
        yield Text("no allocations that you may see")
        return
    for row in rows:
        yield from allocation(row, paper)
    yield from _footer(rows, paper)


def allocation(row: Obj, paper: Paper) -> Iterator[Text]:
    """One allocation."""
    name = f"{row['project']} / {row['allocation']} on {row['cluster']}"
    yield from paper.flow(Text(name, style="bold"), [_span(row), *_marks(row)], INDENT)
    if row["phase"] == "Waiting":
        yield from paper.paragraph(f"0 granted; waits: {row['waitingFor']}", INDENT)
        return
    for figures in row["resources"]:
        yield from _resource(figures, row, paper)


def _span(row: Obj) -> str:
    window = row["window"]
    if window is None:
        return f"{day(row['start'])} to {last_day(row['end'])}"
    of = f" (window {window['number']} of {window['of']})" if window["of"] > 1 else ""
    return f"{day(window['start'])} to {last_day(window['end'])}{of}"


def _marks(row: Obj) -> Iterator[Text]:
    """What is unusual about it, in words."""
    if row["phase"] in ("Upcoming", "Ended"):
        yield Text("not begun yet" if row["phase"] == "Upcoming" else "ended", style="dim")
    action = row["enforcement"]
    if action in IN_WORDS:
        yield Text(IN_WORDS[action], style=STYLES.get(action, "yellow"))


def _resource(figures: Obj, row: Obj, paper: Paper) -> Iterator[Text]:
    """Bar, share, hours; then rate and run-out date; then what the room is made of, where that is more than the grant."""
    percent, room = figures["usedPercent"], figures["roomHours"]
    style = "red" if percent >= 100 else "yellow" if percent >= 80 else "green"
    bar = Text(paper.bar(percent / 100, 20 if paper.width >= 76 else 10), style=style)
    used = f"{number(figures['usedHours'])} of {number(room)} {_unit(figures)} used"
    indent = INDENT + NAME
    head = f"  {paper.crop(figures['name'], NAME - 1)}"
    yield from paper.flow(head, [bar, f"{percent:>3}%", used, _left(figures)], indent)
    outlook = list(_outlook(figures, row))
    if outlook:
        yield from paper.flow("", outlook, indent)
    parts = _room(figures)
    if parts:
        yield from paper.paragraph(parts, indent)


def _unit(figures: Obj) -> str:
    """Hours of billing are service units."""
    return "SU" if figures["name"] == "billing" else "h"


def _left(figures: Obj) -> Text:
    available = figures["availableHours"]
    if figures["availableSeconds"] < 0:
        return Text(f"overdrawn by {number(-available)}", style="red")
    if figures["availableSeconds"] == 0:
        return Text("exhausted", style="red")
    return Text(f"{number(available)} left")


def _outlook(figures: Obj, row: Obj) -> Iterator[str]:
    """Rate, what running jobs may still use, and where that leads."""
    if figures["burnPerDayHours"] is not None:
        yield f"{number(figures['burnPerDayHours'])} {_unit(figures)}/day"
    if figures["committedHours"]:
        yield f"running jobs may use {number(figures['committedHours'])}"
    if figures["availableSeconds"] > 0 and row["phase"] == "Running":
        if figures["runsOut"]:
            yield f"runs out {day(figures['runsOut'])}"
        elif figures["burnPerDayHours"] is not None:
            yield "lasts to the end"
    if figures["opens"]:
        yield f"{number(figures['opens']['hours'])} more on {day(figures['opens']['at'])}"


def _room(figures: Obj) -> str:
    """`160,000 granted + 40,000 carried over - 1,000 debt`, where that is more than the grant."""
    parts = [
        ("carriedHours", "carried over"),
        ("adjustedHours", "by hand"),
        ("creditedHours", "credited"),
    ]
    signed = [(figures[key], words) for key, words in parts if figures[key]]
    signed += [(-figures["debtHours"], "debt")] if figures["debtHours"] else []
    if not signed:
        return ""
    rest = " ".join(f"{'-' if hours < 0 else '+'} {number(abs(hours))} {words}" for hours, words in signed)
    return f"{number(figures['grantedHours'])} granted {rest}"


def _footer(rows: Iterable[Obj], paper: Paper) -> Iterator[Text]:
    known: dict[str, str | None] = {row["cluster"]: row["asOf"] for row in rows}
    for cluster, as_of in sorted(known.items()):
        text = f"{cluster}: use complete up to {moment(as_of)}" if as_of else f"{cluster}: no use was reported yet"
        yield Text(paper.crop(text, paper.width), style="dim")
    methods = dict.fromkeys(row["projection"] for row in rows if row["phase"] == "Running")
    for method in methods:
        for line in paper.paragraph(f"Projection: {method}."):
            line.stylize("dim")
            yield line
