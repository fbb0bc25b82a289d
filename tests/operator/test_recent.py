"""What is kept of what was worked out lately."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_operator.published import Publications
from bursar_operator.recent import Recent

MAXIMUM = 3


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["put", "drop"]))))
def test_the_latest_are_kept_and_no_more(steps: list[tuple[int, str]]) -> None:
    kept: Recent[int, str] = Recent(MAXIMUM)
    latest: list[int] = []
    for number, (key, what) in enumerate(steps):
        latest = [item for item in latest if item != key]
        if what == "put":
            assert kept.put(key, f"{key} at {number}") == f"{key} at {number}"
            latest = [*latest, key][-MAXIMUM:]
        else:
            kept.drop(key)
        assert [key for key in range(6) if kept.get(key) is not None] == sorted(latest)
        assert len(kept) == len(latest)


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
