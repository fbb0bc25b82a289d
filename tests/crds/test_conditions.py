"""Condition lists: a setter that changes nothing when nothing changed, and keeps time only when the status flips."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from bursar_crds.conditions import MESSAGE_MAXIMUM, find_condition, is_true, remove_condition, set_condition
from bursar_crds.reasons import Reason

NOW = datetime(2026, 10, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=3)
TYPES = st.sampled_from(["Ready", "Granted", "Enforced", "Expired"])
CALLS = st.lists(st.tuples(TYPES, st.booleans(), st.sampled_from(list(Reason)), st.text(max_size=9)), max_size=8)


def played(calls: list[tuple[str, bool, Reason, str]]) -> list[dict[str, Any]]:
    conditions: list[dict[str, Any]] = []
    for index, (type_, status, reason, message) in enumerate(calls):
        conditions = set_condition(conditions, type_, status, reason, message, NOW + timedelta(minutes=index), 4)
    return conditions


@given(CALLS)
def test_one_entry_a_type_and_ready_first(calls: list[tuple[str, bool, Reason, str]]) -> None:
    types = [item["type"] for item in played(calls)]
    assert len(types) == len(set(types))
    assert types == sorted(types, key=lambda type_: (type_ != "Ready", type_))


@given(CALLS, st.integers(0, 7))
def test_setting_what_is_so_changes_nothing(calls: list[tuple[str, bool, Reason, str]], index: int) -> None:
    conditions = played(calls)
    for item in conditions[index : index + 1]:
        again = set_condition(
            conditions, item["type"], item["status"], item["reason"], item["message"], LATER, item["observedGeneration"]
        )
        assert again == conditions


def test_time_moves_only_with_the_status() -> None:
    first = set_condition(None, "Ready", False, Reason.WAITING, "wait", NOW)
    reworded = set_condition(first, "Ready", "False", Reason.QUOTA_EXCEEDED, "ask for less", LATER)
    flipped = set_condition(reworded, "Ready", True, Reason.READY, "", LATER)
    assert first[0]["lastTransitionTime"] == reworded[0]["lastTransitionTime"] == "2026-10-01T00:00:00Z"
    assert flipped[0]["lastTransitionTime"] == "2026-10-01T03:00:00Z"
    assert reworded[0]["reason"] == "QuotaExceeded"
    assert "observedGeneration" not in first[0]


def test_input_is_left_as_it_was() -> None:
    before = set_condition([], "Ready", True, Reason.READY, "", NOW)
    set_condition(before, "Ready", False, Reason.WAITING, "", LATER)
    assert before == set_condition([], "Ready", True, Reason.READY, "", NOW)


def test_find_and_remove() -> None:
    conditions = set_condition([], "Granted", True, Reason.GRANTED, "", NOW)
    found = find_condition(conditions, "Granted")
    assert found is not None
    assert found["reason"] == "Granted"
    assert is_true(conditions, "Granted")
    assert not is_true(conditions, "Ready")
    assert not is_true(None, "Ready")
    assert remove_condition(conditions, "Granted") == []


def test_message_is_cut_where_the_schema_would_refuse_it() -> None:
    message = set_condition([], "Ready", False, Reason.ERROR, "x" * 5000, NOW)[0]["message"]
    assert len(message) == MESSAGE_MAXIMUM
    assert message.endswith("…")
