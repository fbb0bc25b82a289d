"""An end that is moved moves no charge, whoever ran beside it and was deleted since: over thousands of accounts."""

from datetime import UTC, datetime, timedelta

from hypothesis import event, given, settings
from hypothesis import strategies as st

from bursar_crds.allocation import AllocationSpec
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import cuts, fold
from bursar_domain.schedule import end_violations
from bursar_domain.terms import PastEnd, Rules, Terms, build
from bursar_domain.units import DAY, HOUR, QUARTER
from bursar_domain.windows import Span

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
LAST = 20
Life = tuple[int, int, int, int, int, int | None]
"""First day, days, days of grace after the end, hours, tolerated over-use in percent, day of its deletion."""
Move = tuple[int, int, int]
"""Second in which it is moved, days and days of grace from then on."""
Charged = dict[str, int]

LIVES = st.tuples(
    st.integers(0, 5),
    st.integers(4, 14),
    st.integers(0, 3),
    st.integers(1, 20),
    st.sampled_from([0, 0, 50]),
    st.none() | st.integers(1, 8),
)
MOVES = st.lists(st.tuples(st.integers(1, 15 * DAY), st.integers(1, 20), st.integers(0, 4)), min_size=1, max_size=3)
USE = st.lists(st.tuples(st.integers(0, LAST * 24), st.integers(1, 15)), min_size=1, max_size=8)


def rules(uid: str, life: Life) -> Rules:
    first, days, grace, _, overuse, deleted = life
    span = Span(first * DAY, (first + days) * DAY)
    return Rules(uid, ("cpu",), (span,), grace * DAY, overuse, is_deleted=deleted is not None)


def terms(uid: str, life: Life, known: Rules) -> Terms:
    """As the operator has them: granted at the start, taken back in the quarter of the deletion."""
    first, _, _, hours, _, deleted = life
    found = [grant(uid, 1, first * DAY, {"cpu": hours * HOUR})]
    if deleted is not None:
        found.append(grant(uid, 2, max(first, deleted) * DAY + QUARTER, {}))
    return build(known, found)


def grant(uid: str, number: int, at: int, amounts: dict[str, int]) -> Entry:
    return Entry(f"grant/{uid}/{number}", EntryKind.GRANT, "alpha", "a", at, "Bursar", "", uid=uid, amounts=amounts)


def charged(account: list[Terms], use: list[tuple[int, int]], until: int) -> Charged:
    """Who was charged what of the use before a second; "" nobody. Summed between the cuts, as the books have it."""
    borders = cuts(account)
    sums: dict[int, int] = {}
    for hour, amount in use:
        if hour * HOUR < until:
            first = max((border for border in borders if border <= hour * HOUR), default=-1)
            sums[first] = sums.get(first, 0) + amount * HOUR
    books = fold(account, {"cpu": sums.items()})
    return {uid: books.booked(uid)["cpu"] for uid in books.terms} | {"": books.unfunded.get("cpu", 0)}


@settings(max_examples=3000, deadline=None)
@given(st.lists(LIVES, min_size=2, max_size=4), MOVES, USE)
def test_an_end_that_is_moved_moves_no_charge(lives: list[Life], moves: list[Move], use: list[tuple[int, int]]) -> None:
    """Whatever the webhook says, and where it had ended, too; what is moved again and again moves nothing either."""
    names = [f"u{number}" for number in range(len(lives))]
    mine = (*lives[0][:5], None)
    others = [terms(name, life, rules(name, life)) for name, life in zip(names[1:], lives[1:], strict=True)]
    known, booked = rules("u0", mine), list[tuple[int, Charged]]()
    for now, days, grace in sorted(moves):
        at = now // QUARTER * QUARTER + QUARTER
        booked.append((at, charged([terms("u0", mine, known), *others], use, at)))
        moved = rules("u0", (mine[0], days, grace, *mine[3:])).moved(known, now)
        event("passes a deleted one" if any(_is_passed(item, known, moved, now) for item in others) else "passes none")
        event("has ended" if known.open_until <= now else "has not ended")
        known = moved
        account = [terms("u0", mine, known), *others]
        assert [charged(account, use, before) for before, _ in booked] == [then for _, then in booked]


def _is_passed(item: Terms, before: Rules, after: Rules, now: int) -> bool:
    deleted = item.closed_from is not None and item.closed_from <= now
    return deleted and (item.open_until < before.open_until) != (item.open_until < after.open_until)


def test_an_end_moved_past_a_deleted_one_takes_nothing_back_from_it() -> None:
    """40 hours were charged to A, which ended first; B ends later and was deleted."""
    deleted = terms("B", (0, 12, 0, 50, 0, 6), rules("B", (0, 12, 0, 50, 0, 6)))
    life: Life = (0, 10, 0, 50, 0, None)
    known = rules("A", life)
    longer = rules("A", (0, 15, 0, 50, 0, None)).moved(known, 7 * DAY)
    use = [(5 * 24, 40), (8 * 24, 5)]
    assert charged([terms("A", life, known), deleted], use, LAST * DAY) == {"A": 45 * HOUR, "B": 0, "": 0}
    assert charged([terms("A", life, longer), deleted], use, LAST * DAY) == {"A": 45 * HOUR, "B": 0, "": 0}
    assert longer.past_ends == (PastEnd(7 * DAY + QUARTER, 10 * DAY),)


def test_from_the_next_quarter_on_the_one_that_ends_first_now_is_charged_first() -> None:
    life: Life = (0, 10, 0, 50, 0, None)
    beside = terms("B", (0, 12, 0, 50, 0, None), rules("B", (0, 12, 0, 50, 0, None)))
    longer = rules("A", (0, 15, 0, 50, 0, None)).moved(rules("A", life), 7 * DAY - 1)
    account = [terms("A", life, longer), beside]
    assert charged(account, [(7 * 24 - 1, 10), (7 * 24, 3)], LAST * DAY) == {"A": 10 * HOUR, "B": 3 * HOUR, "": 0}


def test_nothing_is_kept_where_nothing_was_charged_or_nothing_moves() -> None:
    known = rules("A", (0, 10, 0, 50, 0, None))
    longer = rules("A", (0, 15, 0, 50, 0, None))
    assert longer.moved(known, None) == longer
    assert known.moved(known, DAY) == known


def test_an_end_that_is_moved_twice_in_a_quarter_was_never_the_first() -> None:
    first = rules("A", (0, 15, 0, 50, 0, None)).moved(rules("A", (0, 10, 0, 50, 0, None)), DAY)
    second = rules("A", (0, 12, 0, 50, 0, None)).moved(first, DAY + 1)
    assert second.past_ends == (PastEnd(DAY + QUARTER, 10 * DAY),)


def test_an_end_cut_into_the_past_acts_from_the_next_quarter_and_stays_there() -> None:
    """It was stored while no webhook looked, or while the operator was away."""
    cut = rules("A", (0, 3, 0, 50, 0, None)).moved(rules("A", (0, 10, 0, 50, 0, None)), 7 * DAY)
    assert cut.open_until == 7 * DAY + QUARTER
    again = rules("A", (0, 3, 0, 50, 0, None)).moved(cut, 8 * DAY)
    assert (again.open_until, again.past_ends) == (cut.open_until, cut.past_ends)


@settings(max_examples=2000, deadline=None)
@given(LIVES, st.integers(1, 20), st.integers(0, 4), st.integers(0, LAST * DAY))
def test_the_webhook_lets_through_what_is_carried_out_as_it_is_written(life: Life, days: int, grace: int, now: int) -> None:
    """But for the rest of the quarter."""
    before, after = rules("A", life), rules("A", (life[0], days, grace, *life[3:]))
    if end_violations(spec(life[0], days, grace), spec(*life[:3]), BEGIN + timedelta(seconds=now)):
        return
    assert abs(after.moved(before, now).open_until - after.open_until) <= QUARTER
    assert before == after or before.open_until > now or before.open_until == after.open_until


def spec(first: int, days: int, grace: int) -> AllocationSpec:
    at = [(BEGIN + timedelta(days=day)).isoformat().replace("+00:00", "Z") for day in (first, first + days)]
    return AllocationSpec.model_validate(
        {
            "clusterRef": {"name": "alpha"},
            "period": {"start": at[0], "end": at[1]},
            "resources": [{"name": "cpu", "hours": 1}],
            "grace": {"afterEndDays": grace},
        }
    )
