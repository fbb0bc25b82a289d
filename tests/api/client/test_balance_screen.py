"""`bursar balance` drawn: one screen, no line too long, what is wrong in words, ASCII where nothing else may be shown."""

import io
from collections.abc import Sequence
from typing import Any

import pytest
from rich.console import Console

from bursar_client.cli.balancescreen import draw
from bursar_client.cli.paper import Paper

Obj = dict[str, Any]
WIDTHS = (80, 60)


def figures(name: str = "cpu", granted: int = 200_000, used: int = 142_000, **more: Any) -> Obj:
    """One resource of a row, by hours."""
    base: Obj = {"carriedHours": 0, "adjustedHours": 0, "creditedHours": 0, "debtHours": 0, "committedHours": 12_000}
    found: Obj = base | {"name": name, "grantedHours": granted, "usedHours": used, "burnPerDayHours": 2_130} | more
    found["roomHours"] = granted + found["carriedHours"] + found["adjustedHours"] + found["creditedHours"] - found["debtHours"]
    found["availableHours"] = found["roomHours"] - used
    found["availableSeconds"] = found["availableHours"] * 3600
    found["usedPercent"] = used * 100 // found["roomHours"] if found["roomHours"] else 0
    return {"runsOut": "2026-11-12T03:00:00Z", "opens": None} | found


def row(*resources: Obj, **more: Any) -> Obj:
    """One allocation."""
    window = {"start": "2026-10-01T00:00:00Z", "end": "2027-01-01T00:00:00Z", "number": 4, "of": 4}
    base = {
        "project": "lattice-qcd",
        "allocation": "alpha-2026",
        "cluster": "alpha",
        "start": "2026-01-01T00:00:00Z",
        "end": "2027-01-01T00:00:00Z",
        "window": window,
        "phase": "Running",
        "waitingFor": None,
        "enforcement": "None",
        "asOf": "2026-11-01T12:00:00Z",
        "projection": "use of the last 14 days goes on at the same rate; running jobs are not looked at",
        "resources": list(resources or (figures(),)),
    }
    return base | more


def drawn(rows: Sequence[Obj], width: int = 80, *, plain: bool = False) -> list[str]:
    """The screen's lines."""
    return [line.plain for line in draw(rows, Paper(width, plain))]


FIVE = [
    row(),
    row(figures(used=200_000), allocation="spent", enforcement="Hold"),
    row(figures(used=201_000), allocation="overdrawn", enforcement="Block"),
    row(figures(carriedHours=20_000, debtHours=1_000), allocation="carried"),
    row(project="climate", allocation="next", phase="Upcoming", cluster="beta", asOf=None),
]
LONG = row(
    figures("a-resource-with-a-name-that-never-ends", granted=10**11, used=10**11 - 7, carriedHours=10**9, debtHours=10**6),
    figures("gpu"),
    project="p" * 55,
    allocation="a" * 253,
    cluster="c" * 40,
    enforcement="Throttle",
)
WAITING = row(
    phase="Waiting",
    window=None,
    waitingFor="pool alpha-2026 has 12,000 of 900,000 cpu hours left; this asks for 16,000. Ask for 12,000, or wait.",
)


def test_hours_of_billing_are_called_service_units() -> None:
    text = "\n".join(drawn([row(figures("billing"), figures("memory"))]))
    assert "142,000 of 200,000 SU used" in text
    assert "2,130 SU/day" in text
    assert "142,000 of 200,000 h used" in text


def test_five_allocations_fit_on_one_screen() -> None:
    lines = drawn(FIVE)
    assert len(lines) <= 24, "\n".join(lines)
    assert lines[0] == "lattice-qcd / alpha-2026 on alpha  2026-10-01 to 2027-01-01 (window 4 of 4)"
    assert lines[1] == "  cpu     ██████████████░░░░░░   71%  142,000 of 200,000 h used  58,000 left"
    assert lines[2] == "          2,130 h/day  running jobs may use 12,000  runs out 2026-11-12"


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_longer_than_the_screen(width: int, plain: bool) -> None:
    lines = drawn([*FIVE, LONG, WAITING], width, plain=plain)
    assert [line for line in lines if len(line) > width] == []
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("width", WIDTHS)
def test_without_a_terminal_everything_is_ascii(width: int) -> None:
    text = "\n".join(drawn([*FIVE, LONG, WAITING, row(project="größe")], width, plain=True))
    assert text.isascii()
    assert "#" in text


@pytest.mark.parametrize("width", WIDTHS)
def test_what_is_wrong_is_said_in_words(width: int) -> None:
    text = " ".join(" ".join(drawn([*FIVE, WAITING], width)).split())
    for words in (
        "exhausted",
        "held: waiting jobs stay waiting",
        "overdrawn by 1,000",
        "blocked: no new jobs are taken",
        "200,000 granted + 20,000 carried over - 1,000 debt",
        "not begun yet",
        "0 granted; waits: pool alpha-2026 has 12,000 of 900,000 cpu hours left",
        "alpha: use complete up to 2026-11-01 12:00 UTC",
        "beta: no use was reported yet",
        "Projection: use of the last 14 days goes on at the same rate",
    ):
        assert words in text, words


def test_a_grant_that_lasts_says_so() -> None:
    text = "\n".join(drawn([row(figures(runsOut=None))]))
    assert "lasts to the end" in text
    assert "runs out" not in text
    assert "h/day" not in "\n".join(drawn([row(figures(runsOut=None, burnPerDayHours=None))]))


def test_hours_that_open_later_are_announced() -> None:
    text = "\n".join(drawn([row(figures(opens={"at": "2026-12-01T00:00:00Z", "hours": 40_000}))]))
    assert "40,000 more on 2026-12-01" in text


def test_nothing_to_show() -> None:
    assert drawn([]) == ["no allocations that you may see"]


def test_names_move_no_cursor() -> None:
    assert drawn([row(project="p\x1b[2J界")])[0].startswith("p?[2J? / alpha-2026")


def console(*, terminal: bool, width: int = 80) -> Console:
    """A console that writes UTF-8."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    return Console(file=file, force_terminal=terminal, width=width, legacy_windows=False, _environ={})


@pytest.mark.parametrize(
    ("terminal", "environment", "plain"),
    [(True, {}, False), (False, {}, True), (True, {"NO_COLOR": "1"}, True), (True, {"NO_COLOR": ""}, False)],
)
def test_bars_degrade(terminal: bool, environment: dict[str, str], plain: bool) -> None:
    paper = Paper.of(console(terminal=terminal), environment)
    assert paper.plain is plain
    assert paper.bar(0.5, 10) == ("[####....]" if plain else "█████░░░░░")


def test_a_screen_has_bounds() -> None:
    assert Paper.of(console(terminal=True, width=20), {}).width == 40
    assert Paper.of(console(terminal=True, width=400), {}).width == 120


@pytest.mark.parametrize(("share", "filled"), [(0, 0), (0.0001, 1), (0.999, 9), (1, 10), (7, 10)])
def test_a_bar_is_full_only_when_all_is_used(share: float, filled: int) -> None:
    assert Paper(80, False).bar(share, 10).count("█") == filled
