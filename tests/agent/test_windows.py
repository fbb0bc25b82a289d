"""Windows at the scheduler: roll-over, carried hours, debt, grace, late records across a boundary, and what the brake sees."""

from typing import Any

import pytest

from bursar_agent import brake, plan
from bursar_agent.memory import AccountMemory
from bursar_agent.plan import Plan, Situation
from bursar_agent.schedulers.base import Reading
from bursar_domain.ceiling import Sample
from bursar_domain.wire import AccountEntry, AllocationEntry, EndedEntry, Root, WindowEntry
from bursar_testing.agents import account, allocation, cluster_settings, step_at, window
from bursar_testing.situations import HOUR, NOW, change, one, remembered, situation, view

TURN = NOW - 900  # when the second window began
START, END = TURN - 100 * HOUR, TURN + 100 * HOUR


def two(first: int, second: int, *steps: Any, **fields: Any) -> AllocationEntry:
    """An allocation of two windows, granted so many hours each."""
    windows: tuple[WindowEntry, ...] = (window(START, TURN, {"cpu": first}), window(TURN, END, {"cpu": second}, *steps))
    given: dict[str, Any] = {"start": START, "end": END, "windows": windows, "open_until": END}
    return allocation("x", first + second, **(given | fields))


def limit(entry: AccountEntry, counter: int = 0, **fields: Any) -> int | None:
    """The limit that is written where another was in force."""
    seen = view(readings={"cpu": Reading(limit=7, counter=counter)})
    return change(situation(entry, seen, **fields)).limits.get("cpu")


def test_a_window_that_begins_has_its_own_hours_whatever_the_counter_says() -> None:
    """Counter 54,000 with 6,000 running, new window of 1000 h: 114,000, of which 900 h may start."""
    entry = account("aa", two(1000, 1000))
    assert limit(entry, counter=54_000, use={"cpu": [(START, 900)]}) == 114_000


@pytest.mark.parametrize(("used", "expect"), [(90, 100), (100, 100), (130, 70), (250, 0)])
def test_over_use_burdens_the_next_window_where_debt_is_kept(used: int, expect: int) -> None:
    entry = account("aa", two(100, 100))
    assert limit(entry, counter=5, use={"cpu": [(START, used)]}) == max(expect * 60 + 5, 5)
    forgiven = account("aa", two(100, 100, carries_debt=False))
    assert limit(forgiven, counter=5, use={"cpu": [(START, used)]}) == 6_005


def test_hours_carried_in_act_from_their_quarter_and_not_before_records_reach_the_window() -> None:
    carried = account("aa", two(100, 100, step_at(NOW - 450, {"cpu": 100}, carried={"cpu": 25}, adjusted={"cpu": -5})))
    assert limit(carried) == 120 * 60
    late: dict[str, Any] = {"samples": {("aa", "cpu"): [Sample(TURN - 60, 0), Sample(NOW, 0)]}, "watermark": TURN - 30}
    assert limit(carried, **late) == 95 * 60


def test_grace_is_granted_on_top_of_the_share_alone() -> None:
    graced = two(100, 100, step_at(TURN, {"cpu": 100}, carried={"cpu": 20}), overuse_percent=15)
    assert limit(account("aa", graced)) == 135 * 60


def test_the_grace_after_the_end_keeps_the_last_window_open() -> None:
    late = two(100, 50, end=NOW - 60, open_until=NOW + HOUR)
    assert limit(account("aa", late), use={"cpu": [(TURN, 20)]}) == 30 * 60
    over = two(100, 50, end=NOW - 60, open_until=NOW)
    assert limit(account("aa", over), counter=44, use={"cpu": [(TURN, 20)]}) == 44


def test_two_allocations_share_one_ceiling_and_the_one_that_ended_keeps_its_use() -> None:
    """A (ended) charged 60 h, B of 100 h charged 20 h, counter 4,800: 9,600."""
    ended = allocation("a", 60, start=START, end=TURN)
    entry = account("aa", ended, allocation("b", 100, start=START, end=END))
    assert limit(entry, counter=4_800, use={"cpu": [(START, 60), (TURN, 20)]}) == 9_600
    gone = EndedEntry(uid="a", windows=ended.windows, open_until=TURN, resources=("cpu",))
    without = account("aa", allocation("b", 100, start=START, end=END)).model_copy(update={"ended": (gone,)})
    assert limit(without, counter=4_800, use={"cpu": [(START, 60), (TURN, 20)]}) == 9_600


def behind(entry: AccountEntry, samples: list[tuple[int, int]], used: int = 0, **fields: Any) -> int | None:
    """The limit where records end 600 s before the turn, and ``used`` hours are known from before."""
    series = [Sample(at, minutes) for at, minutes in samples]
    given = {"watermark": TURN - 600, "samples": {("aa", "cpu"): series}, "use": {"cpu": [(START, used)]}}
    return limit(entry, counter=samples[-1][1], **(given | fields))


def test_records_that_end_before_the_window_count_growth_where_it_happened() -> None:
    entry = account("aa", two(100, 100))
    grown = [(TURN - 600, 1_000), (TURN, 1_300), (NOW, 1_420)]
    assert behind(entry, grown, used=20) == 1_420 + 6_000 - 120  # 300 of them fit in the old window
    assert behind(entry, grown, used=97) == 1_420 + 6_000 - 120 - 120  # 180 of the 300 did; the rest is a debt
    forgiven = account("aa", two(100, 100, carries_debt=False))
    assert behind(forgiven, grown, used=97) == 1_420 + 6_000 - 120
    across = [(TURN - 600, 1_000), (TURN - 100, 1_200), (NOW, 1_420)]
    assert behind(entry, across, used=20) == 1_420 + 6_000 - 220  # what grew across the turn counts as younger


@pytest.mark.parametrize(
    ("grown", "lag", "left"),
    [
        ([(-3600, 500), (-1800, 530), (-900, 530), (0, 530)], 0, 30),  # used before the other one began: it is not charged
        ([(-3600, 500), (-1800, 500), (-900, 530), (0, 530)], 0, 60),  # used while it ran: nobody else is
        ([(-3600, 500), (-900, 530), (0, 530)], 0, 30),  # nobody knows
        ([(-3600, 500), (-1800, 500), (-900, 530), (0, 530)], 300, 30),  # the counter may be as late as that
        ([(-3600, 500), (-1800, 500), (-1500, 505), (-900, 530), (0, 530)], 300, 55),
        ([(-3600, 500), (-1800, 520), (-900, 550), (0, 560)], 0, 30),  # 20 before, 30 while it ran, 10 since
    ],
)
def test_use_is_put_down_to_those_who_ran_when_counters_grew(grown: list[tuple[int, int]], lag: int, left: int) -> None:
    brief = allocation("b", 1, start=NOW - 1800, end=NOW - 900)
    entry = account("aa", allocation("a", 1, start=START, end=END), brief)
    samples = [(NOW + at, minutes) for at, minutes in grown]
    found = behind(entry, samples, watermark=NOW - 3600, counter_seconds=lag)
    assert found == samples[-1][1] + left


def test_what_records_show_already_is_not_counted_twice() -> None:
    entry = account("aa", two(100, 100))
    grown = [(TURN - 600, 1_000), (TURN, 1_300), (NOW, 1_420)]
    known = {"cpu": [(START, 20), (TURN - 500, 5), (TURN, 2)]}
    seen = view(readings={"cpu": Reading(limit=7, counter=1_420)})
    given = situation(entry, seen, use=known, watermark=TURN - 600, samples={("aa", "cpu"): [Sample(*it) for it in grown]})
    figures = given.figures["aa"]
    exact = plan.Figures(figures.charged, after_watermark={"cpu": 7 * HOUR})
    again = Situation(**{name: getattr(given, name) for name in Situation.__dataclass_fields__} | {"figures": {"aa": exact}})
    assert change(again).limits == {"cpu": 1_420 + 6_000 - 120}


def test_samples_that_lie_far_apart_prove_nothing_while_records_are_late() -> None:
    entry = account("aa", allocation("x", 1000))
    low = view(readings={"cpu": Reading(limit=100, counter=30)})
    late: dict[str, Any] = {"watermark": NOW - 60, "cycle_seconds": 10.0}
    close = {("aa", "cpu"): [Sample(NOW - 60, 20), Sample(NOW - 40, 20), Sample(NOW - 20, 25), Sample(NOW, 30)]}
    assert one(situation(entry, low, samples=close, **late)).withheld == ()
    apart = {("aa", "cpu"): [Sample(NOW - 60, 20), Sample(NOW - 20, 25), Sample(NOW, 30)]}
    assert one(situation(entry, low, samples=apart, **late)).withheld == ("cpu",)
    high = view(readings={"cpu": Reading(limit=90_000, counter=30)})
    assert change(situation(entry, high, samples=apart, **late)).limits["cpu"] < 60_030


def test_a_boundary_is_exact_although_the_band_would_keep_the_limit() -> None:
    entry = account("aa", two(100, 100))
    seen = view(readings={"cpu": Reading(limit=5_998, run_minutes_limit=6_000)})
    before = remembered(entry, TURN - 1, limits={"cpu": 5_998})
    assert change(situation(entry, seen, memories=before)).limits == {"cpu": 6_000}
    assert one(situation(entry, seen, memories=remembered(entry, limits={"cpu": 5_998}))).change is None


def counted(entry: AccountEntry, before: dict[str, AccountMemory], in_force: int = 60_000) -> tuple[str, ...]:
    return one(situation(entry, view(readings={"cpu": Reading(limit=in_force)}), memories=before)).counted


def test_a_roll_over_is_dated_even_when_the_entry_changed_with_it() -> None:
    entry = account("aa", two(1000, 10))
    before = remembered(entry, TURN - 1, limits={"cpu": 60_000})
    assert counted(entry, before) == ()
    carried = account("aa", two(1000, 10, step_at(TURN, {"cpu": 10}, carried={"cpu": 5})))
    assert counted(carried, before) == ()
    assert counted(account("aa", two(10, 10)), before) != ()  # the window that ran was shrunk
    deleted = account("aa", two(1000, 1000, closed_from=NOW))
    assert counted(deleted, before) != ()
    shortened = account("aa", allocation("x", 1000, start=START, end=NOW - 60))
    assert counted(shortened, remembered(account("aa", allocation("x", 1000, start=START, end=END)))) != ()
    gone = account("aa")
    assert counted(gone, before) != ()
    assert counted(gone, remembered(account("aa", allocation("x", 9, start=START, end=NOW)), NOW - 1)) == ()


def test_many_shrinks_at_once_stop_at_the_brake_and_many_roll_overs_do_not() -> None:
    entries = {name: account(name, two(1000, 10).model_copy(update={"uid": name})) for name in ("aa", "bb", "cc")}

    def planned(entries: dict[str, AccountEntry], memories: dict[str, AccountMemory]) -> Plan:
        plans: dict[str, plan.AccountPlan] = {}
        for name, entry in entries.items():
            seen = view(name, readings={"cpu": Reading(limit=60_000)})
            plans |= plan.make(situation(entry, seen, memories=memories)).accounts
        return Plan(plans)

    memories = {name: remembered(entry, TURN - 1)[name] for name, entry in entries.items()}
    root = Root(cluster="c", epoch=1, generation=4, acknowledged=0, issued_at=0, valid_until=1, digest="")
    rolled = planned(entries, memories)
    assert all(item.change for item in rolled.accounts.values())
    assert brake.judge(cluster_settings("c"), root, rolled, 3, None).may_run
    shrunk = {name: account(name, two(10, 10).model_copy(update={"uid": name})) for name in entries}
    assert not brake.judge(cluster_settings("c"), root, planned(shrunk, memories), 3, None).may_run


def test_past_its_validity_a_roll_over_only_tightens() -> None:
    richer = account("aa", two(10, 1000))
    seen = view(readings={"cpu": Reading(limit=600, run_minutes_limit=600)})
    assert one(situation(richer, seen, memories=remembered(richer, TURN - 1), expired=True)).change is None
    poorer = account("aa", two(1000, 5))
    found = one(situation(poorer, seen, memories=remembered(poorer, TURN - 1), expired=True))
    assert found.change is not None
    assert found.change.limits == {"cpu": 300}
    assert found.counted == ()


def test_no_window_rolls_over_while_the_clocks_differ() -> None:
    entry = account("aa", two(10, 1000))
    found = one(situation(entry, view(), memories=remembered(entry, TURN - 1), skewed=True))
    assert found.change is None
    assert "clock" in found.error


def test_an_allocation_without_windows_changes_nothing() -> None:
    found = one(situation(account("aa", allocation("x", 10, windows=())), view(readings={"cpu": Reading(limit=9_000)})))
    assert found.change is None
    assert "without windows" in found.error
    waits = account("aa", allocation("x", 0, windows=()))
    assert limit(waits, counter=3) == 3
