"""The fold against the design's sentences carried out unit by unit, over thousands of accounts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_domain.fold import AccountBooks, Correction, cuts, fold
from bursar_domain.terms import Terms, Window
from bursar_domain.units import QUARTER
from bursar_testing.bookcases import ACCOUNTS, LAST_QUARTER, USE, as_use, corrected
from bursar_testing.bruteforce import BruteForce

Told = tuple[dict[int, int], list[Correction]]
CASES = settings(max_examples=2000, deadline=None)


def cells(books: AccountBooks) -> dict[tuple[str, int], tuple[int, int, int, int]]:
    """(uid, window) -> used, overdraft, credited, debt."""
    found = {}
    for uid, terms in books.terms.items():
        for number in range(len(terms.windows)):
            item = books.window(uid, number)["cpu"]
            found[uid, number] = item.used, item.overdraft, item.credited, item.debt
    return found


def by_hand(brute: BruteForce) -> dict[tuple[str, int], tuple[int, int, int, int]]:
    """The same of the oracle."""
    found = {}
    for item in brute.terms:
        for number in range(len(item.windows)):
            cell = brute.cells[item.uid, number]
            found[item.uid, number] = cell.used, cell.overdraft, cell.credited, brute.debt(item, number)
    return found


def spoken_for(books: AccountBooks) -> int:
    """Charged, overdrawn and unfunded."""
    return sum(books.booked(uid)["cpu"] for uid in books.terms) + books.unfunded.get("cpu", 0)


@given(ACCOUNTS, corrected())
@CASES
def test_it_is_the_rule_unit_by_unit_and_conserves(terms: list[Terms], told: Told) -> None:
    """Charged, overdraft and unfunded are the use, and of negative corrections what was credited elsewhere or stayed put."""
    use, corrections = told
    books, brute = fold(terms, as_use(use), corrections), BruteForce(terms).run(use, corrections)
    found = cells(books)
    assert found == by_hand(brute)
    assert books.unfunded.get("cpu", 0) == brute.unfunded >= 0
    assert all(min(figures) >= 0 for figures in found.values())
    assert spoken_for(books) == sum(use.values()) + sum(figures[2] for figures in found.values()) + brute.kept


@given(ACCOUNTS, corrected(), st.randoms(use_true_random=False))
@CASES
def test_sums_between_the_cuts_in_any_order_will_do(terms: list[Terms], told: Told, dice: object) -> None:
    use, corrections = told
    summed: dict[int, int] = {}
    for at, amount in use.items():
        first = max((edge for edge in cuts(terms, corrections) if edge <= at), default=-1)
        summed[first] = summed.get(first, 0) + amount
    shuffled, pieces = list(terms), list(use.items())
    dice.shuffle(shuffled)  # type: ignore[attr-defined] # a Random of hypothesis
    dice.shuffle(pieces)  # type: ignore[attr-defined]
    once, again = fold(terms, as_use(use), corrections), fold(shuffled, {"cpu": summed.items()}, corrections)
    assert cells(once) == cells(again) == cells(fold(shuffled, {"cpu": pieces}, corrections))
    assert once.unfunded == again.unfunded


@given(ACCOUNTS, USE, st.integers(0, 2), st.integers(-3, 6))
@CASES
def test_moving_a_boundary_never_changes_the_total(terms: list[Terms], use: dict[int, int], which: int, by: int) -> None:
    moved = [_moved(item, by) if number == which else item for number, item in enumerate(terms)]
    assert spoken_for(fold(moved, as_use(use))) == spoken_for(fold(terms, as_use(use))) == sum(use.values())


def _moved(terms: Terms, by: int) -> Terms:
    """The end of the last window and of the allocation, moved; never before the window's start."""
    last = terms.windows[-1]
    end = max(last.start + QUARTER, last.end + by * QUARTER)
    return replace(
        terms,
        windows=(*terms.windows[:-1], Window(last.start, end, last.steps)),
        open_until=end + terms.open_until - last.end,
    )


@given(ACCOUNTS, USE)
@settings(max_examples=500, deadline=None)
def test_nobody_pays_beyond_room_and_grace(terms: list[Terms], use: dict[int, int]) -> None:
    """Where room is never taken away again."""
    books = fold(terms, as_use(use))
    for uid, item in books.terms.items():
        for number, window in enumerate(item.windows):
            figures = books.window(uid, number)["cpu"]
            assert len(window.steps) > 1 or figures.used <= max(0, figures.room + figures.grace)


@given(ACCOUNTS, USE, st.integers(0, LAST_QUARTER))
@CASES
def test_what_is_left_is_room_less_booked_over_the_active(terms: list[Terms], use: dict[int, int], now: int) -> None:
    """The ceiling's `left`: granted with grace, carried, adjusted, less charged and overdrawn, of what is active."""
    at = now * QUARTER
    so_far = {quarter: amount for quarter, amount in use.items() if quarter <= at}
    books, brute = fold(terms, as_use(so_far)), BruteForce(terms).run(so_far, [])
    left = 0
    for item in brute.terms:
        if brute._is_active(item, at):
            number = brute._number(item, at)
            cell = brute.cells[item.uid, number]
            left += brute._room(item, number, at, grace=True) - cell.used - cell.overdraft
    assert books.left_at(at, "cpu") == left


@given(ACCOUNTS, ACCOUNTS, USE)
@settings(max_examples=300, deadline=None)
def test_resources_are_folded_apart(first: Sequence[Terms], second: Sequence[Terms], use: Mapping[int, int]) -> None:
    """Only allocations that list a resource pay for it; another resource's use changes nothing."""
    others = [replace(item, uid=item.uid.upper(), resources=frozenset({"gpu"})) for item in second]
    alone = fold(list(first), as_use(use))
    both = fold([*first, *others], {**as_use(use), "gpu": list(use.items())})
    mine = {uid: both.booked(uid) for uid in alone.terms}
    assert mine == {uid: alone.booked(uid) for uid in alone.terms}
    assert both.unfunded.get("cpu") == alone.unfunded.get("cpu")
