"""Every row of the design's check table, by name, through the functions that the programs call."""

from collections.abc import Callable, Mapping

import pytest

from bursar_domain.buckets import JobUse, SlotKey, SlotVersion, slots_of
from bursar_domain.ceiling import Child, Reading, Sample, growth, lag, limit, parent
from bursar_domain.closing import Carry
from bursar_domain.fold import AccountBooks, WindowBooks, fold
from bursar_domain.terms import Terms, simple
from bursar_domain.units import HOUR, MINUTE, QUARTER, UNSCALED, with_percent
from bursar_domain.wire import RebuiltRange
from bursar_ledger import slots
from bursar_ledger.slots import Content, FlatRow, Standing

H = HOUR
LATE = 4000 * H
NOON = 500_000 * H  # any full hour
BOB, ALICE = "bob", "alice"


def cpu(uid: str, start: int, end: int, hours: int, grace: int = 0) -> Terms:
    """An allocation of cpu hours in one window."""
    return simple(uid, start, end, {"cpu": hours * H}, overuse_percent=grace)


def ceiling(terms: list[Terms], use: Mapping[int, int], now: int, counter: int) -> int:
    """Books of the use (second -> hours), what is left now, and the limit that comes of it."""
    books = fold(terms, {"cpu": [(at, hours * H) for at, hours in use.items()]})
    left = books.left_at(now, "cpu")
    return limit(Reading(counter, left, left))


def thousand(used: int, counter: int) -> int:
    """A grant of 1000 h of which some are used."""
    return ceiling([cpu("A", 0, LATE, 1000)], {0: used}, H, counter)


def running(in_force: int) -> int:
    """left 36,000 at both times, C 23,500, R 6,500, records' remainder 6,000, recent use 600."""
    unseen = lag(6_500, 6_000 * MINUTE, 600 * MINUTE)
    return limit(Reading(23_500, 36_000 * MINUTE, 36_000 * MINUTE, in_force=in_force, lag_seconds=unseen))


def behind(counter: int, left_now: int, samples: list[Sample]) -> tuple[int, int]:
    """G and the limit, the feed behind and 36,000 minutes left at the watermark."""
    grown = growth(samples, 0, 100)
    left = left_now * MINUTE
    return grown, limit(Reading(counter, left, left, behind_seconds=36_000 * MINUTE - MINUTE * grown))


def roll_over() -> tuple[int, int]:
    """The new window's ceiling, and how many hours may start under it beside what runs."""
    terms = [cpu("A", 0, 100 * H, 900), cpu("B", 100 * H, LATE, 1000)]
    found = ceiling(terms, {0: 900}, 100 * H, 54_000)
    return found, (found - 54_000 - 6_000) // 60


def node_failure() -> int:
    """400 h allocated in 100 jobs' hours, 50 h of them ended by the machine's fault."""
    jobs = [
        JobUse("1", "p", BOB, NOON, NOON + H, {"cpu": 350}),
        JobUse("2", "p", BOB, NOON, NOON + H, {"cpu": 50}, "NODE_FAIL"),
    ]
    cells = slots_of(jobs)[SlotKey("p", NOON)].values()
    assert sum(sum(cell.allocated) for cell in cells) == 400 * H
    books = fold([cpu("A", NOON, NOON + LATE, 1000)], {"cpu": [(NOON, sum(cell.charged for cell in cells))]})
    left = books.left_at(NOON + H, "cpu")
    return limit(Reading(24_000, left, left))


def booked(books: AccountBooks, uid: str) -> tuple[int, int]:
    """cpu hours used and overdrawn in the first window."""
    found = books.window(uid, 0)["cpu"]
    return found.used // H, found.overdraft // H


def over_the_end(hours_of_a: int) -> tuple[int, int]:
    """60 cpus 10:00-11:00, cut into quarters as the books cut them; A ends 10:30."""
    rows = slots_of([JobUse("1", "p", BOB, NOON, NOON + H, {"cpu": 60})])[SlotKey("p", NOON)].values()
    use = [(NOON + number * QUARTER, amount) for row in rows for number, amount in enumerate(row.allocated)]
    books = fold([cpu("A", 0, NOON + H // 2, hours_of_a), cpu("B", 0, NOON + LATE, 100)], {"cpu": use})
    return booked(books, "A")[0], booked(books, "B")[0]


def grace_in_order() -> tuple[tuple[int, int], tuple[int, int]]:
    """A and B with 10 h and 1 h of grace each, use 25 h."""
    books = fold([cpu("A", 0, 10 * H, 10, 10), cpu("B", 0, LATE, 10, 10)], {"cpu": [(0, 25 * H)]})
    return booked(books, "A"), booked(books, "B")


def carried(books: WindowBooks, percent: int) -> int:
    """Whole hours that go to the next window."""
    return Carry(percent).hours("cpu", max(0, books.left_over))


def cells(user: str, hours: int) -> FlatRow:
    """A row of so many hours in the first quarter."""
    return (user, "cpu", hours * H, 0, 0, 0, 0, 0, 0, 0)


def versions() -> tuple[int, int]:
    """Hours of bob after (1, 7) with 9 h and a late (1, 6) with 5 h; and after a rebuild, epoch 2, without bob."""
    key = SlotKey("p", NOON)
    stored = slots.news(slots.newest([(key, Content.of(SlotVersion(1, 7), [cells(BOB, 9)]))]), {}, Standing())
    for content in (Content.of(SlotVersion(1, 6), [cells(BOB, 5)]),):
        stored |= slots.news({key: content}, {key: stored[key].version}, Standing())
    before = hours_of(stored, BOB)
    rebuilt = Standing(rebuilds=(RebuiltRange(epoch=1, start=0, end=0), RebuiltRange(epoch=2, start=NOON, end=NOON + H)))
    assert [item.start <= NOON < item.end for item in rebuilt.later(1)] == [True]
    stored |= slots.news({key: Content.of(SlotVersion(2, 1), [cells(ALICE, 2)])}, {key: stored[key].version}, rebuilt)
    return before, hours_of(stored, BOB)


def hours_of(stored: Mapping[SlotKey, Content], user: str) -> int:
    """What a user has in all slots."""
    return sum(sum(row[2:6]) for content in stored.values() for row in content.rows if row[0] == user) // H


def ten_gib() -> int:
    """The limit of an unused grant of 10 GiB hours, in MiB minutes."""
    room = UNSCALED.seconds_from_hours("memory", 10)
    return limit(Reading(0, room, room, unit=UNSCALED.units("memory")))


FALLEN = [Sample(0, 24_000), Sample(300, 100), Sample(600, 600)]
ROWS: list[tuple[str, Callable[[], object], object]] = [
    ("grant 1000 h, used 400 h, C 0", lambda: thousand(400, 0), 36_000),
    ("grant 1000 h, used 400 h, C 24,000", lambda: thousand(400, 24_000), 60_000),
    ("used 1100 h, C 66,000", lambda: thousand(1100, 66_000), 66_000),
    ("used 1100 h, C 0", lambda: thousand(1100, 0), 1),
    ("running, Lw 60,000", lambda: running(60_000), 60_000),
    ("running, Lw 60,003", lambda: running(60_003), 59_500),
    ("running, Lw 59,436", lambda: running(59_436), 59_500),
    ("behind", lambda: behind(30_000, 33_000, [Sample(0, 24_000), Sample(3600, 30_000)]), (6_000, 60_000)),
    ("behind, counter lost", lambda: behind(600, 36_000, FALLEN), (1_100, 35_500)),
    ("roll-over", roll_over, (114_000, 900)),
    ("node failure given back", node_failure, 63_000),
    (
        "A ended charged 60 h, B charged 20 h",
        lambda: ceiling([cpu("A", 0, 10 * H, 60), cpu("B", 0, LATE, 100)], {0: 60, 10 * H: 20}, 11 * H, 4_800),
        9_600,
    ),
    ("parent", lambda: parent(8_000, [Child(5_000, 5_000, 600), Child(9_000, 3_000, 0)]), 14_600),
    ("100 min, grace 15 %", lambda: with_percent(100, 15), 115),
    ("10 GiB h", ten_gib, 614_400),
    ("60 cpus over the end of A, A has 30 h", lambda: over_the_end(30), (30, 30)),
    ("60 cpus over the end of A, A has 20 h", lambda: over_the_end(20), (20, 40)),
    ("A, B 10 h and 1 h grace, use 25 h", grace_in_order, ((11, 0), (11, 3))),
    ("versions and a rebuild without bob", versions, (9, 0)),
    ("carry 50 % of 160 less 100", lambda: carried(WindowBooks(100 * H, adjusted=60 * H, used=100 * H), 50), 30),
    ("carry 25 % with 25 carried in", lambda: carried(WindowBooks(100 * H, carried=25 * H, used=110 * H), 25), 3),
    ("available is rounded down", lambda: UNSCALED.hours_left("cpu", 10 * H - 1), 9),
]


@pytest.mark.parametrize(("figure", "expect"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_the_row_holds(figure: Callable[[], object], expect: object) -> None:
    assert figure() == expect
