"""An end that may be moved moves no charge: the webhook's rule against the fold, over thousands of accounts."""

from datetime import UTC, datetime, timedelta

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bursar_crds.allocation import AllocationSpec
from bursar_domain.fold import fold
from bursar_domain.schedule import Neighbour, end_violations, open_until
from bursar_domain.terms import Terms, simple
from bursar_domain.units import DAY, HOUR

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = 10
Life = tuple[int, int, int, int, int]
"""First day, days, days of grace after the end, hours, tolerated over-use in percent."""

LIVES = st.tuples(st.integers(0, 12), st.integers(1, 14), st.integers(0, 3), st.integers(1, 20), st.sampled_from([0, 0, 50]))


def spec(life: Life) -> AllocationSpec:
    first, days, grace, hours, overuse = life
    at = [(BEGIN + timedelta(days=day)).isoformat().replace("+00:00", "Z") for day in (first, first + days)]
    return AllocationSpec.model_validate(
        {
            "clusterRef": {"name": "alpha"},
            "period": {"start": at[0], "end": at[1]},
            "resources": [{"name": "cpu", "hours": hours}],
            "grace": {"afterEndDays": grace, "overusePercent": overuse},
        }
    )


def terms(uid: str, life: Life) -> Terms:
    first, days, grace, hours, overuse = life
    start, end = first * DAY, (first + days) * DAY
    return simple(uid, start, end, {"cpu": hours * HOUR}, overuse_percent=overuse, after_end_seconds=grace * DAY)


@settings(max_examples=2000, deadline=None)
@given(
    st.lists(LIVES, min_size=1, max_size=3),
    st.integers(1, 20),
    st.integers(0, 4),
    st.lists(st.tuples(st.integers(0, NOW - 1), st.integers(1, 15)), max_size=6),
)
def test_an_end_that_may_move_moves_no_charge(lives: list[Life], days: int, grace: int, use: list[tuple[int, int]]) -> None:
    names = [f"u{number}" for number in range(len(lives))]
    before, after = lives[0], (lives[0][0], days, grace, *lives[0][3:])
    others = [
        Neighbour(name, name, item.period.start, open_until(item), ("cpu",))
        for name, item in zip(names[1:], map(spec, lives[1:]), strict=True)
    ]
    assume(not end_violations(spec(after), spec(before), names[0], others, BEGIN + timedelta(days=NOW)))
    spent = {"cpu": sorted((day * DAY + DAY // 2, hours * HOUR) for day, hours in use)}

    def charged(first: Life) -> tuple[list[dict[str, int]], dict[str, int]]:
        books = fold([terms(name, life) for name, life in zip(names, [first, *lives[1:]], strict=True)], spent)
        return [books.booked(name) for name in names], dict(books.unfunded)

    assert charged(after) == charged(before)
