"""Every table of figures in the explanation of the books, worked out again."""

import re
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from bursar_domain.buckets import JobUse, SlotVersion, slots_of
from bursar_domain.closing import Carry
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import AccountBooks, Correction, WindowBooks, fold
from bursar_domain.ladder import Action, Rule, Standing, in_force
from bursar_domain.projection import exhaustion, rate
from bursar_domain.terms import Rules, Step, Terms, Window, build, simple
from bursar_domain.units import HOUR, UNSCALED, Scales
from bursar_domain.windows import cut
from bursar_testing.reference.reading import ROOT

Row = dict[str, str]
PAGE = (ROOT / "docs" / "explanation" / "accounting.md").read_text()
TABLE = re.compile(r"(?:^\|.*\|\n)+", re.M)
START, END = "2026-01-01", "2027-01-01"
DAY = 24 * HOUR


def tables() -> list[tuple[tuple[str, ...], list[Row]]]:
    """Titles and rows of every table."""
    found = []
    for block in TABLE.findall(PAGE):
        head, _, *rows = ([cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines())
        found.append((tuple(head), [dict(zip(head, row, strict=True)) for row in rows]))
    return found


def number(text: str) -> int:
    """`1,200`, or nothing."""
    return int(text.replace(",", "") or "0")


def at(text: str) -> int:
    """`2026-01-01`, or with a time, in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def units(row: Row) -> Row:
    granted, used = number(row["granted h"]) * HOUR, number(row["used CPU seconds"])
    return {
        "shown as used h": f"{UNSCALED.hours_used('cpu', used):,}",
        "shown as left h": f"{UNSCALED.hours_left('cpu', granted - used):,}",
    }


def service_units(row: Row) -> Row:
    scales = Scales(1000)
    granted, used = scales.seconds_from_hours("billing", number(row["granted SU"])), number(row["used billing seconds"])
    return {
        "shown as used SU": f"{scales.hours_used('billing', used):,}",
        "shown as left SU": f"{scales.hours_left('billing', granted - used):,}",
    }


def job(row: Row) -> Row:
    start, end = at(f"2026-01-01T{row['start']}"), at(f"2026-01-01T{row['end']}")
    factor = round(float(row["factor"]) * 1000)
    use = JobUse("1", "a", "u", start, end + DAY * (end < start), {"cpu": int(row["CPUs"])}, row["state"], factor)
    amounts = [amount for slot in slots_of([use]).values() for amount in slot.values()]
    return {
        "allocated h": str(sum(sum(amount.allocated) for amount in amounts) // HOUR),
        "charged h": str(sum(amount.charged for amount in amounts) // HOUR),
    }


def slots(row: Row) -> Row:
    reports = re.findall(r"\((\d+),(\d+)\): (\d+)", row["reported in this order, as (rebuild, read): hours"])
    version, stands = SlotVersion(0, 0), 0
    for epoch, seq, hours in reports:
        new = SlotVersion(int(epoch), int(seq))
        version, stands = (new, int(hours)) if new > version else (version, stands)
    return {"what stands": str(stands)}


def grant(hours: int, second: int) -> Entry:
    """The usable total from a second on."""
    return Entry(f"g{second}", EntryKind.GRANT, "c", "a", second, "t", "t", uid="A", amounts={"cpu": hours * HOUR})


def of_windows(every: str, *grants: Entry) -> dict[str, int]:
    """Start of each window of 2026 -> hours at its end."""
    terms = build(Rules("A", ("cpu",), cut(at(START), at(END), every, None)), grants)
    return {f"{datetime.fromtimestamp(w.start, UTC):%Y-%m-%d}": w.last.granted["cpu"] // HOUR for w in terms.windows}


def months(row: Row) -> Row:
    return {"hours": f"{of_windows('Month', grant(365_000, at(START)))[row['window'] + '-01']:,}"}


def top_up(row: Row) -> Row:
    first = grant(36_500, at(START))
    more = grant(36_500 + 27_500, at("2026-05-15"))
    return {
        "at first": f"{of_windows('Quarter', first)[row['window']]:,}",
        "after 15 May": f"{of_windows('Quarter', first, more)[row['window']]:,}",
    }


def zone(row: Row) -> Row:
    second = cut(at(START) - DAY, at(END), "Quarter", row["zone"])[2].start
    return {"begins (UTC)": f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M}"}


def tranche(row: Row) -> Row:
    opened = sum({"start": 40, "1 July": 30, "review": 30}[name] for name in row["what has opened"].split(", "))
    return {"usable h": f"{1000 * opened // 100:,}"}


def carry(row: Row) -> Row:
    parts = {"granted": "granted", "carried": "carried in", "adjusted": "by hand", "debt": "debt", "used": "used"}
    books = WindowBooks(**{field: number(row[title]) * HOUR for field, title in parts.items()})
    policy = Carry(number(row["percent"]), number(row["maximum"]) if row["maximum"] else None)
    return {
        "left": str(UNSCALED.hours_left("cpu", books.left_over)),
        "carried on": str(policy.hours("cpu", max(0, books.left_over))),
    }


def hundred_each(*, carries_debt: bool = True, count: int = 2) -> Terms:
    """Windows of a day with 100 hours each."""
    windows = tuple(Window(n * DAY, (n + 1) * DAY, (Step(n * DAY, {"cpu": 100 * HOUR}),)) for n in range(count))
    return Terms("A", frozenset({"cpu"}), windows, count * DAY, 0, carries_debt)


def debt(row: Row) -> Row:
    use = {"cpu": [(0, number(row["used in the first"]) * HOUR)]}
    second, forgiven = (fold([hundred_each(carries_debt=keeps)], use).window("A", 1)["cpu"] for keeps in (True, False))
    return {
        "debt": str(second.debt // HOUR),
        "room of the second": str(second.room // HOUR),
        "with Absorb": str(forgiven.room // HOUR),
    }


def paid(books: AccountBooks, uid: str) -> WindowBooks:
    """The only window of an allocation."""
    return books.window(uid, 0)["cpu"]


def renewal(row: Row) -> Row:
    ten = at("2026-01-01T10:00")
    terms = [
        simple("A", at(START), ten + HOUR // 2, {"cpu": number(row["A has h"]) * HOUR}),
        simple("B", at(START), at(END), {"cpu": 100 * HOUR}),
    ]
    books = fold(terms, {"cpu": [(ten + quarter * 900, 60 * 900) for quarter in range(4)]})
    return {f"{uid} pays": str(paid(books, uid).used // HOUR) for uid in "AB"}


def grace(row: Row) -> Row:
    terms = [simple(uid, 0, (n + 1) * DAY, {"cpu": 10 * HOUR}, overuse_percent=10) for n, uid in enumerate("AB")]
    books = fold(terms, {"cpu": [(0, number(row["used h"]) * HOUR)]})
    shares = {f"{uid} pays": str(paid(books, uid).used // HOUR) for uid in "AB"}
    return shares | {"B is overdrawn by": str(paid(books, "B").overdraft // HOUR)}


def correction(row: Row) -> Row:
    truth = number(row["in truth"])
    posted = 2 * DAY + 3600
    corrections = [Correction("cpu", 0, (truth - 50) * HOUR, posted)] if truth != 50 else []
    books = fold([hundred_each(count=3)], {"cpu": [(0, truth * HOUR)]}, corrections)
    january, march = books.window("A", 0)["cpu"], books.window("A", 2)["cpu"]
    return {
        "January's books": str(january.used // HOUR),
        "March: used": str(march.used // HOUR),
        "March: credited": str(march.credited // HOUR),
        "March: available": str(march.left // HOUR),
    }


RULE = Rule(100, Action.HOLD, clear_below=95)


def hold(rows: list[Row]) -> list[Row]:
    """Hysteresis: each row stands on the one before."""
    keys: frozenset[str] = frozenset()
    found = []
    for row in rows:
        keys = in_force([RULE], {"cpu": Standing(200, number(row["used h"]))}, keys)
        found.append({"in force": "yes" if keys else "no"})
    return found


def run_out(row: Row) -> Row:
    now = at("2026-01-21")
    known = rate(number(row["used in the last 14 days"]) * HOUR, now - 14 * DAY, now)
    assert known is not None
    second = exhaustion(760 * HOUR, known, now, at(END))
    return {
        "h a day": str(known.per_day // HOUR),
        "runs out": f"{datetime.fromtimestamp(second, UTC):%Y-%m-%d}" if second is not None else "lasts",
    }


WORKED_OUT: dict[str, Callable[[Row], Row]] = {
    "granted h": units,
    "granted SU": service_units,
    "CPUs": job,
    "reported in this order, as (rebuild, read): hours": slots,
    "window hours": months,
    "window at first": top_up,
    "zone": zone,
    "what has opened": tranche,
    "granted": carry,
    "used in the first": debt,
    "A has h": renewal,
    "used h A pays": grace,
    "in truth": correction,
    "used in the last 14 days": run_out,
}
IN_WORDS = {"kind", "action", "where"}


def key(head: tuple[str, ...]) -> str:
    """What the table is known by here."""
    return next(
        name for name in (f"{head[0]} {head[1]}", head[0]) if name in WORKED_OUT or name in IN_WORDS | {"used h in force"}
    )


@pytest.mark.parametrize(("head", "rows"), tables(), ids=lambda item: item[0] if isinstance(item, tuple) else "")
def test_figures(head: tuple[str, ...], rows: list[Row]) -> None:
    name = key(head)
    if name in IN_WORDS:
        return
    results = hold(rows) if name == "used h in force" else [WORKED_OUT[name](row) for row in rows]
    for row, result in zip(rows, results, strict=True):
        assert {title: row[title] for title in result} == result, row


def test_every_calculation_has_its_table() -> None:
    assert {key(head) for head, _ in tables()} == {*WORKED_OUT, *IN_WORDS, "used h in force"}
