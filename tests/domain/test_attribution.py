"""Attribution and balance: nothing is lost, nothing is counted twice, the earliest end pays first."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_domain.attribution import UNFUNDED, Share, attribute
from bursar_domain.balance import Grant, balance
from bursar_domain.units import HOUR, QUARTER

TEN = 10 * HOUR  # 10:00
LATE = 100 * HOUR

SHARE = st.builds(
    lambda uid, start, length, room, grace: Share(uid, start * QUARTER, (start + length) * QUARTER, room, grace),
    uid=st.sampled_from("abcdef"),
    start=st.integers(0, 20),
    length=st.integers(0, 20),
    room=st.integers(-50, 500),
    grace=st.integers(0, 50),
)
SHARES = st.lists(SHARE, max_size=5, unique_by=lambda share: share.uid)
QUARTERS = st.lists(st.tuples(st.integers(0, 45).map(lambda q: q * QUARTER), st.integers(0, 400)), max_size=30)


def reference(shares: list[Share], quarters: list[tuple[int, int]]) -> tuple[dict[str, int], dict[str, int]]:
    """The rule as the design states it, unit by unit."""
    used = {share.uid: 0 for share in shares}
    over: dict[str, int] = {}
    for at, whole in sorted(quarters):
        amount = whole
        active = sorted((s for s in shares if s.start <= at < s.end), key=lambda s: (s.end, s.uid))
        for with_grace in (False, True):
            for share in active:
                take = min(amount, max(0, share.room + (share.grace if with_grace else 0) - used[share.uid]))
                used[share.uid] += take
                amount -= take
        if amount:
            owner = active[-1].uid if active else UNFUNDED
            over[owner] = over.get(owner, 0) + amount
    return used, over


@given(SHARES, QUARTERS)
@settings(max_examples=1000)
def test_it_is_the_rule(shares: list[Share], quarters: list[tuple[int, int]]) -> None:
    result = attribute(shares, quarters)
    assert (dict(result.used), dict(result.overdraft)) == reference(shares, quarters)


@given(SHARES, QUARTERS)
@settings(max_examples=1000)
def test_everything_is_attributed_once(shares: list[Share], quarters: list[tuple[int, int]]) -> None:
    """Whatever the order of shares and quarters, and wherever the boundaries lie."""
    total = sum(amount for _, amount in quarters)
    result = attribute(shares, quarters)
    assert sum(result.used.values()) + sum(result.overdraft.values()) == total
    assert attribute(shares[::-1], quarters[::-1]) == result
    moved = [Share(s.uid, s.start + QUARTER, s.end + QUARTER, s.room, s.grace) for s in shares]
    after = attribute(moved, quarters)
    assert sum(after.used.values()) + sum(after.overdraft.values()) == total


@given(SHARES, QUARTERS)
@settings(max_examples=300)
def test_nobody_pays_beyond_room_and_grace(shares: list[Share], quarters: list[tuple[int, int]]) -> None:
    result = attribute(shares, quarters)
    for share in shares:
        assert 0 <= result.used[share.uid] <= max(0, share.room + share.grace)


@given(SHARES, QUARTERS, st.tuples(st.integers(0, 45).map(lambda q: q * QUARTER), st.integers(0, 400)))
@settings(max_examples=300)
def test_later_use_moves_no_earlier_charge(shares: list[Share], quarters: list[tuple[int, int]], more: tuple[int, int]) -> None:
    later = (max([at for at, _ in quarters], default=0) + more[0], more[1])
    before, after = attribute(shares, quarters), attribute(shares, [*quarters, later])
    assert all(before.used[uid] <= after.used[uid] for uid in before.used)
    assert all(amount <= after.overdraft[uid] for uid, amount in before.overdraft.items())


def hours(**used: int) -> dict[str, int]:
    """Hours as unit-seconds."""
    return {uid: amount * HOUR for uid, amount in used.items()}


@pytest.mark.parametrize(("room", "a", "b"), [(30, 30, 30), (20, 20, 40)])
def test_sixty_cpus_for_an_hour_while_a_ends_half_way(room: int, a: int, b: int) -> None:
    shares = [Share("B", 0, LATE, 100 * HOUR), Share("A", 0, TEN + HOUR // 2, room * HOUR)]
    quarters = [(TEN + number * QUARTER, 15 * HOUR) for number in range(4)]
    result = attribute(shares, quarters)
    assert (dict(result.used), dict(result.overdraft)) == (hours(A=a, B=b), {})


def test_grace_comes_after_every_room_and_overdraft_goes_to_the_last() -> None:
    shares = [Share("A", 0, LATE, 10 * HOUR, HOUR), Share("B", 0, LATE, 10 * HOUR, HOUR)]
    result = attribute(shares, [(TEN, 25 * HOUR)])
    assert (dict(result.used), dict(result.overdraft)) == (hours(A=11, B=11), hours(B=3))


def test_use_that_no_allocation_covers_is_unfunded() -> None:
    result = attribute([Share("A", 0, TEN, 10 * HOUR)], [(TEN, 5)])
    assert (dict(result.used), dict(result.overdraft)) == ({"A": 0}, {UNFUNDED: 5})


def test_the_end_is_not_inside_and_the_start_is() -> None:
    result = attribute([Share("A", TEN, TEN + QUARTER, 100)], [(TEN - QUARTER, 1), (TEN, 2), (TEN + QUARTER, 4)])
    assert (dict(result.used), dict(result.overdraft)) == ({"A": 2}, {UNFUNDED: 5})


# Balances


def test_a_thousand_hours_of_which_four_hundred_are_used() -> None:
    grants = [Grant("A", 0, LATE, {"cpu": 1000})]
    books = balance(grants, {"cpu": [(TEN, 400 * HOUR)]})
    assert books.left_at(TEN, grants, "cpu") == 600 * HOUR
    assert books.allocations["A"].available_hours() == {"cpu": 600}
    assert books.allocations["A"].used_hours() == {"cpu": 400}


def test_more_used_than_granted_is_overdraft_and_leaves_nothing() -> None:
    grants = [Grant("A", 0, LATE, {"cpu": 1000})]
    books = balance(grants, {"cpu": [(TEN, 1100 * HOUR)]}).allocations["A"]
    assert (books.left("cpu"), books.overdraft["cpu"]) == (-100 * HOUR, 100 * HOUR)
    assert (books.available_hours(), books.used_hours()) == ({"cpu": 0}, {"cpu": 1100})


def test_what_an_ended_allocation_paid_is_not_paid_again() -> None:
    """A (ended) charged 60 h, B 100 h charged 20 h: 80 h are left, whatever the account's counter says."""
    grants = [Grant("A", 0, TEN, {"cpu": 60}), Grant("B", TEN, LATE, {"cpu": 100})]
    books = balance(grants, {"cpu": [(0, 60 * HOUR), (TEN, 20 * HOUR)]})
    assert books.left_at(TEN + HOUR, grants, "cpu") == 80 * HOUR
    assert books.left_at(TEN - 1, grants, "cpu") == 0


def test_only_allocations_that_list_the_resource_pay_for_it() -> None:
    grants = [Grant("A", 0, LATE, {"cpu": 10}), Grant("B", 0, LATE, {"gpu": 10})]
    books = balance(grants, {"gpu": [(TEN, HOUR)], "memory": [(TEN, 7)]})
    assert books.allocations["B"].left("gpu") == 9 * HOUR
    assert books.allocations["A"].booked() == {"cpu": 0}
    assert dict(books.unfunded) == {"memory": 7}


@given(
    st.lists(
        st.builds(
            lambda uid, start, length, cpu, gpu: Grant(uid, start * HOUR, (start + length) * HOUR, {"cpu": cpu, "gpu": gpu}),
            uid=st.sampled_from("abcd"),
            start=st.integers(0, 9),
            length=st.integers(1, 9),
            cpu=st.integers(0, 50),
            gpu=st.integers(0, 5),
        ),
        max_size=4,
        unique_by=lambda grant: grant.uid,
    ),
    st.dictionaries(
        st.sampled_from(["cpu", "gpu", "memory"]),
        st.lists(st.tuples(st.integers(0, 80).map(lambda q: q * QUARTER), st.integers(0, 40 * HOUR)), max_size=10),
    ),
)
@settings(max_examples=300)
def test_balances_hold_all_use_and_no_more(grants: list[Grant], quarters: dict[str, list[tuple[int, int]]]) -> None:
    books = balance(grants, quarters)
    for name, found in quarters.items():
        booked = sum(entry.booked().get(name, 0) for entry in books.allocations.values())
        assert booked + books.unfunded.get(name, 0) == sum(amount for _, amount in found)
    for entry in books.allocations.values():
        for name, granted in entry.granted.items():
            assert entry.left(name) == granted - entry.booked()[name]
