"""Token bucket and replay cache: small, bounded, exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_api.agents.problems import Refused
from bursar_api.agents.rate import MAX_KEYS, Bucket
from bursar_api.agents.replay import MAX_PER_CLUSTER, ReplayCache


@given(st.lists(st.integers(0, 20), max_size=60))
def test_a_bucket_never_lets_more_through_than_its_rate(gaps: list[int]) -> None:
    bucket, now, through = Bucket(3, 5.0), 0.0, []
    for gap in gaps:
        now += gap
        if bucket.wait("key", now) == 0:
            through.append(now)
    for first in through:
        assert len([at for at in through if first <= at < first + 50]) <= 3 + 10


def test_a_bucket_refills() -> None:
    bucket = Bucket(2, 6.0)
    assert [bucket.wait("key", 0), bucket.wait("key", 0), bucket.wait("key", 0)] == [0, 0, 6]
    assert bucket.wait("key", 3) == 3
    assert bucket.wait("key", 6) == 0
    assert bucket.wait("other", 0) == 0


def test_a_bucket_forgets_the_oldest_of_too_many_keys() -> None:
    bucket = Bucket(1, 1e9)
    for number in range(MAX_KEYS + 1):
        assert bucket.wait(f"{number}", 0) == 0
    assert bucket.wait(f"{MAX_KEYS}", 0) > 0
    assert bucket.wait("0", 0) == 0


def test_an_identifier_is_remembered_while_its_token_could_hold() -> None:
    cache = ReplayCache()
    assert cache.first("c", "x", 100, now=0)
    assert not cache.first("c", "x", 100, now=99)
    assert cache.first("other", "x", 100, now=99)
    assert cache.first("c", "x", 200, now=100)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 30), st.integers(0, 9)), max_size=80))
def test_no_identifier_counts_twice_before_its_end(calls: list[tuple[int, int, int]]) -> None:
    cache, now = ReplayCache(), 0
    used: dict[str, int] = {}
    for gap, valid, name in calls:
        now += gap
        until = now + valid
        if cache.first("c", f"{name}", until, now):
            assert used.get(f"{name}", 0) <= now
            used[f"{name}"] = until


def test_one_cluster_fills_only_its_own_share() -> None:
    cache = ReplayCache()
    for number in range(MAX_PER_CLUSTER):
        cache.first("c", f"{number}", 100, now=0)
    with pytest.raises(Refused, match="slow down"):
        cache.first("c", "one more", 100, now=0)
    assert cache.first("other", "x", 100, now=0)
    assert cache.first("c", "one more", 200, now=100)
