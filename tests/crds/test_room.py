"""Pool room: the words of a refusal, and which pool an allocation draws on."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_crds.common import Period
from bursar_crds.reasons import Reason
from bursar_domain.room import MAX_DEPTH, Pool, Problem, capped, choose_path, room

YEAR = Period(start=datetime(2026, 1, 1, tzinfo=UTC), end=datetime(2027, 1, 1, tzinfo=UTC))
SPRING = Period(start=datetime(2026, 3, 1, tzinfo=UTC), end=datetime(2026, 6, 1, tzinfo=UTC))
ROOT = Pool("alpha-2026", "alpha", None, YEAR.start, YEAR.end, {"cpu": 30_000_000, "gpu": 900_000}, {"gpu": 888_000})
LEAF = replace(ROOT, name="physics", parent="alpha-2026", limit={"cpu": 1_000, "gpu": 20_000}, granted={})


def test_a_refusal_says_what_is_left_and_what_to_do() -> None:
    (cause,) = room([ROOT], {"gpu": 16_000}, {})
    assert cause.message == (
        "pool alpha-2026 has 12,000 of 900,000 gpu hours left; this asks for 16,000. "
        "Ask for 12,000, wait until 2027-01-01, or ask for a larger pool."
    )
    assert (cause.limit, cause.granted, cause.left, cause.asked) == (900_000, 888_000, 12_000, 16_000)


def test_a_raise_is_measured_by_what_it_adds() -> None:
    (cause,) = room([ROOT], {"gpu": 17_000}, {"gpu": 1_000})
    assert "this asks for 16,000 more. Ask for 13,000 in all, wait" in cause.message
    assert room([ROOT], {"gpu": 13_000}, {"gpu": 1_000}) == []


def test_a_full_pool_and_a_missing_resource_have_their_own_words() -> None:
    full = replace(ROOT, granted={"gpu": 900_001})
    assert "0 of 900,000 gpu hours left; this asks for 5. Wait until" in room([full], {"gpu": 5}, {})[0].message
    (missing,) = room([LEAF], {"tape": 5}, {})
    assert missing.reason is Reason.RESOURCE_NOT_IN_POOL
    assert missing.message.startswith("pool physics holds no tape hours")


def test_every_violated_dimension_is_named_root_first() -> None:
    causes = room([ROOT, LEAF], {"cpu": 2_000, "gpu": 30_000}, {})
    assert [(cause.pool, cause.resource) for cause in causes] == [
        ("alpha-2026", "gpu"),
        ("physics", "cpu"),
        ("physics", "gpu"),
    ]


HOURS = st.dictionaries(st.sampled_from(["cpu", "gpu"]), st.integers(0, 50))


@given(HOURS, HOURS, HOURS, HOURS)
def test_it_fits_exactly_when_no_total_would_pass_its_limit(
    limit: dict[str, int], granted: dict[str, int], asked: dict[str, int], holding: dict[str, int]
) -> None:
    pool = replace(ROOT, limit=limit, granted=granted)
    fits = all(
        granted.get(name, 0) + hours - holding.get(name, 0) <= limit.get(name, 0)
        for name, hours in asked.items()
        if hours > holding.get(name, 0)
    )
    assert (room([pool], asked, holding) == []) == fits


def by_name(*pools: Pool) -> dict[str, Pool]:
    return {pool.name: pool for pool in pools}


def test_the_only_leaf_that_fits_is_taken_with_its_parent() -> None:
    assert choose_path(by_name(ROOT, LEAF), None, "alpha", "qcd", SPRING) == [ROOT, LEAF]


OTHER = replace(LEAF, name="chemistry")
PICKY = replace(LEAF, projects=frozenset({"other"}))
SHORT = replace(LEAF, start=datetime(2026, 4, 1, tzinfo=UTC))
ORPHAN = replace(LEAF, parent="gone")
DEEP = tuple(replace(LEAF, name=f"level{n}", parent=f"level{n - 1}") for n in range(1, MAX_DEPTH))
DEEPEST = (replace(ROOT, name="level0"), *DEEP)
DEEPER = (*DEEPEST, replace(LEAF, name=f"level{MAX_DEPTH}", parent=f"level{MAX_DEPTH - 1}"))
CIRCLE = (replace(LEAF, name="leaf", parent="a"), replace(LEAF, name="a", parent="b"), replace(LEAF, name="b", parent="a"))
FOREIGN = replace(ROOT, cluster="beta")


@pytest.mark.parametrize(
    ("pools", "ref", "reason"),
    [
        ((), None, Reason.NO_POOL),
        ((ROOT, PICKY), None, Reason.NO_POOL),
        ((ROOT, LEAF, OTHER), None, Reason.AMBIGUOUS_POOL),
        ((ROOT,), "nowhere", Reason.POOL_NOT_FOUND),
        ((FOREIGN,), "alpha-2026", Reason.POOL_NOT_FOUND),
        ((ROOT, PICKY), "physics", Reason.POOL_NOT_ADMITTED),
        ((ROOT, SHORT), "physics", Reason.PERIOD_OUTSIDE_POOL),
        ((ROOT, LEAF), "alpha-2026", Reason.POOL_NOT_A_LEAF),
        ((ORPHAN,), "physics", Reason.PARENT_NOT_FOUND),
        (DEEPER, "level8", Reason.POOL_TOO_DEEP),
        (CIRCLE, "leaf", Reason.PARENT_MISMATCH),
        ((replace(ROOT, projects=frozenset({"other"})), LEAF), "physics", Reason.POOL_NOT_ADMITTED),
        ((replace(ROOT, projects=frozenset({"other"})), LEAF), None, Reason.NO_POOL),
        ((FOREIGN, LEAF), "physics", Reason.PARENT_MISMATCH),
    ],
)
def test_why_no_pool_can_be_drawn_on(pools: tuple[Pool, ...], ref: str | None, reason: Reason) -> None:
    problem = choose_path(by_name(*pools), ref, "alpha", "qcd", SPRING)
    assert isinstance(problem, Problem)
    assert problem.reason is reason
    assert problem.message.endswith(".")


def test_a_path_has_as_many_pools_as_the_tree_has_levels() -> None:
    path = choose_path(by_name(*DEEPEST), None, "alpha", "qcd", SPRING)
    assert isinstance(path, list)
    assert [pool.name for pool in path] == [f"level{n}" for n in range(MAX_DEPTH)]


@pytest.mark.parametrize(
    ("asked", "holding", "held", "left"),
    [(30, 0, 70, None), (31, 0, 70, 30), (50, 20, 70, None), (51, 20, 70, 30), (10, 20, 130, None), (1, 0, 130, 0)],
)
def test_what_one_project_may_hold_of_a_pool(asked: int, holding: int, held: int, left: int | None) -> None:
    pool = replace(ROOT, caps={"cpu": 100})
    causes = capped(pool, {"cpu": asked, "gpu": 5}, {"cpu": holding}, {"cpu": held})
    assert [cause.left for cause in causes] == ([] if left is None else [left])
    assert all(cause.reason is Reason.PROJECT_SHARE_EXCEEDED and "may hold 100 cpu hours" in cause.message for cause in causes)


def test_several_candidates_are_listed() -> None:
    problem = choose_path(by_name(ROOT, LEAF, OTHER), None, "alpha", "qcd", SPRING)
    assert isinstance(problem, Problem)
    assert "chemistry, physics" in problem.message


def test_an_object_reads_like_the_model() -> None:
    from bursar_crds.quotapool import QuotaPool

    obj = {
        "apiVersion": "bursar.dev/v1alpha1",
        "kind": "QuotaPool",
        "metadata": {"name": "p"},
        "spec": {
            "clusterRef": {"name": "alpha"},
            "parentRef": {"name": "root"},
            "period": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"},
            "resources": [{"name": "cpu", "hours": 100}],
            "overcommitPercent": 15,
            "projects": ["qcd"],
        },
        "status": {"granted": [{"name": "cpu", "hours": 7}]},
    }
    pool = Pool.from_object(obj)
    assert pool == Pool.of(QuotaPool.parse_stored(obj))
    assert pool.limit == {"cpu": 115}
    assert pool.left("cpu") == 108
