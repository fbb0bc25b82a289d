"""What is kept of what was worked out lately."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_operator.published import Publications
from bursar_operator.recent import Recent

MAXIMUM = 3


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["put", "drop"]))))
def test_what_is_kept_is_what_was_put_last_and_no_more_than_the_maximum(steps: list[tuple[int, str]]) -> None:
    kept: Recent[int, str] = Recent(MAXIMUM)
    latest: dict[int, str] = {}
    for number, (key, what) in enumerate(steps):
        before = len(kept)
        if what == "put":
            is_new = kept.get(key) is None
            latest[key] = f"{key} at {number}"
            assert kept.put(key, latest[key]) == kept.get(key) == latest[key]
            assert len(kept) == min(MAXIMUM, before + is_new)
        else:
            was_kept = kept.get(key) is not None
            kept.drop(key)
            assert len(kept) == before - was_kept
            latest.pop(key, None)
        found = {key: value for key in range(6) if (value := kept.get(key)) is not None}
        assert len(found) == len(kept)
        assert found.items() <= latest.items()


@pytest.mark.parametrize(("walked", "share"), [(1_500, 0.4), (3_000, 0.15)])
def test_walks_over_more_than_is_kept_find_a_share_of_it(walked: int, share: float) -> None:
    kept: Recent[int, int] = Recent(1_000)
    hits = 0
    for _ in range(10):
        for key in range(walked):
            hits += kept.get(key) is not None
            kept.put(key, key)
    assert hits >= share * walked * 9


def test_what_is_looked_at_again_soon_is_found_though_others_walk() -> None:
    kept: Recent[int, int] = Recent(1_000)
    for key in range(5_000):
        kept.put(key, key)
        assert kept.get(key) == key
    found = 0
    for key in range(5_000, 6_000):
        kept.put(key, key)
        found += kept.get(key - 50) is not None
    assert found > 700


ENTRY = (
    '{"uid":"%s","namespace":"project-p","name":"n","grantRevision":%d,"granted":{"cpu":%d},"start":0,"end":9,"windows":[],'
    '"openUntil":9,"overusePercent":0,"carriesDebt":true,"closedFrom":null,"thresholds":[]}'
)


def test_publications_come_back_as_they_were() -> None:
    held = Publications()
    for number in range(20):
        held.put(f"u{number}", f"c{number % 2}", "a", number, ENTRY % (f"u{number}", number, number))
    held.put("grave", "", "", 2**53, "")
    entry = held.entry("u7")
    assert entry is not None
    assert (entry.uid, entry.grant_revision, entry.granted, held.granted("u7")) == ("u7", 7, {"cpu": 7}, {"cpu": 7})
    assert set(held.of_cluster("c1")) == set(held.of_account(("c1", "a"))) == {f"u{number}" for number in range(1, 20, 2)}
    assert held.entry("grave") is None
    assert held.granted("grave") == {}
    assert "nobody" not in held
    assert held.entry("nobody") is None


def test_a_tombstone_keeps_the_entry_and_grants_nothing() -> None:
    held = Publications()
    held.put("u", "c", "a", 3, ENTRY % ("u", 3, 30))
    held.revised("u", 2**53)
    found, entry = held.get("u"), held.entry("u")
    assert found is not None
    assert found.revision == 2**53
    assert held.granted("u") == {}
    assert entry is not None
    assert entry.granted == {"cpu": 30}


@pytest.mark.parametrize("uid", ["u", "v"])
def test_a_later_publication_replaces_the_one_before(uid: str) -> None:
    held = Publications()
    held.put("u", "c", "a", 1, ENTRY % ("u", 1, 1))
    held.put(uid, "c", "b", 2, ENTRY % (uid, 2, 2))
    assert held.granted(uid) == {"cpu": 2}
    assert uid in held.of_account(("c", "b"))
