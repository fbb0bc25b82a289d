"""What is told of an allocation: which changes, in which words, under which name."""

from datetime import UTC, datetime
from typing import Any

import pytest

from bursar_crds.reasons import Reason
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.ladder import Action, Basis, Rule, Standing
from bursar_domain.units import HOUR, UNSCALED
from bursar_operator.domain.happenings import (
    Change,
    Direction,
    Scene,
    State,
    changes,
    event,
    in_force,
    keeping_step,
    keys,
    marked,
    of_change,
    of_entry,
    of_gate,
    told,
)

ALLOCATION: dict[str, Any] = {
    "metadata": {"uid": "u", "namespace": "project-a", "name": "main"},
    "spec": {"tranches": [{"gate": "report", "percent": 60}, {"gate": "other", "percent": 40}]},
}
WAYS: tuple[Direction, Direction] = ("up", "down")
RULES = (Rule(80, Action.NOTIFY), Rule(90, Action.HOLD, basis=Basis.COMMITTED))


def state(window: int, *found: str) -> State:
    return State(window, frozenset(found))


@pytest.mark.parametrize(
    ("before", "now", "expect"),
    [
        (None, state(0), []),
        (None, state(0, "Exhausted"), [("Exhausted", "up")]),
        (state(0, "a"), state(0, "a"), []),
        (state(0, "a"), state(0, "b"), [("b", "up"), ("a", "down")]),
        (state(0, "a"), state(9), [("RolledOver", "up")]),
        (state(0, "a"), state(9, "a"), [("RolledOver", "up"), ("a", "up")]),
        (state(9, "a"), state(0, "a"), [("a", "up")]),
        (state(0, "Step@Hold"), state(0, "Step@Block"), [("Step@Block", "up")]),
        (state(0, "Step@Hold"), state(0), [("Step@Hold", "down")]),
        (state(0, "Step@Hold"), state(9, "Step@Hold"), [("RolledOver", "up")]),
        (state(0, "Step@Hold"), state(9), [("RolledOver", "up"), ("Step@Hold", "down")]),
    ],
)
def test_what_is_told_of_a_change(before: State | None, now: State, expect: list[Change]) -> None:
    assert changes(before, now) == expect


@pytest.mark.parametrize(
    ("now", "untold", "before"),
    [
        (state(9, "a", "b"), [("b", "up")], state(9, "a")),
        (state(9, "a"), [("b", "down")], state(9, "a", "b")),
        (state(9, "a"), [("a", "up"), ("RolledOver", "up")], state(8)),
        (state(9, "a"), [], state(9, "a")),
    ],
)
def test_what_is_untold_comes_again_after_a_crash(now: State, untold: list[Change], before: State) -> None:
    kept = marked(now.keys, untold)
    assert in_force(kept) == now.keys
    assert told(now.window, kept) == before
    assert set(changes(told(now.window, kept), now)) == set(untold)


def scene(used: int, committed: int = 0, room: int = 100) -> Scene:
    return Scene(ALLOCATION, 7, RULES, {"cpu": Standing(room * HOUR, used * HOUR, (used + committed) * HOUR)}, UNSCALED)


@pytest.mark.parametrize(
    ("change", "reason", "is_loud", "words"),
    [
        (("Notify@Used80", "up"), Reason.THRESHOLD_CROSSED, False, "85 % used (85 of 100 cpu hours; window of 1970"),
        (("Notify@Used80", "down"), Reason.THRESHOLD_CLEARED, False, "Notify is over."),
        (("Hold@Committed90", "up"), Reason.THRESHOLD_CROSSED, True, "95 % used or promised to running jobs"),
        (("Block@Used99", "down"), Reason.THRESHOLD_CLEARED, False, "the threshold Block@Used99 was taken out"),
        (("Exhausted", "up"), Reason.EXHAUSTED, True, "used up: 85 of 100 cpu hours"),
        (("Exhausted", "down"), Reason.NOT_EXHAUSTED, False, "hours are left again"),
        (("Overdrawn", "up"), Reason.OVERDRAWN, True, "overdrawn"),
        (("Overdrawn", "down"), Reason.NOT_OVERDRAWN, False, "no longer overdrawn"),
        (("Step@Hold", "up"), Reason.ENFORCEMENT_CHANGED, True, "no further job starts"),
        (("Step@Notify", "up"), Reason.ENFORCEMENT_CHANGED, False, "Notify"),
        (("Step@Hold", "down"), Reason.ENFORCEMENT_CHANGED, False, "restricts it no more"),
        (("RolledOver", "up"), Reason.ROLLED_OVER, False, "has begun (15 cpu hours left)"),
    ],
)
def test_words(change: Change, reason: Reason, is_loud: bool, words: str) -> None:
    found = of_change(scene(85, 10), 0, change)
    assert (found.reason, found.is_loud) == (reason, is_loud)
    assert words in found.note


def test_entries_and_gates() -> None:
    entry = Entry("k", EntryKind.TRANSFER, "c", "a", 5, "dana", "moved", uid="u", amounts={"cpu": -3 * HOUR, "gpu": HOUR})
    found = of_entry(ALLOCATION, 12, entry, UNSCALED)
    assert found is not None
    assert (found.reason, found.note) == (Reason.TRANSFERRED, "-3 cpu hours, +1 gpu hours by dana: moved")
    grant = Entry("k", EntryKind.GRANT, "c", "a", 5, "bursar", "granted", uid="u", amounts={"cpu": HOUR})
    assert of_entry(ALLOCATION, 12, grant, UNSCALED) is None
    gate = of_gate(ALLOCATION, "report", 7)
    assert gate.note.startswith("gate report is open: 60 percent more")


def test_a_name_is_the_same_whenever_it_is_told_and_no_other_has_it() -> None:
    made = [
        of_change(scene(1), window, (what, way)) for window in (0, 9) for what in ("Exhausted", "Overdrawn") for way in WAYS
    ]
    assert len({item.name for item in made}) == len(made)
    assert of_change(scene(1), 0, ("Exhausted", "up")).name == of_change(scene(90), 0, ("Exhausted", "up")).name


def test_keys_of_a_state() -> None:
    assert keys(["a"], exhausted=True, overdrawn=False, step=Action.NONE) == {"a", "Exhausted"}
    assert keys(["a"], exhausted=False, overdrawn=False, step=None) == {"a"}
    assert keys([], exhausted=False, overdrawn=True, step=Action.BLOCK) == {"Overdrawn", "Step@Block"}


@pytest.mark.parametrize(
    ("before", "now", "expect"),
    [
        (None, state(0, "a"), state(0, "a")),
        (state(0, "Step@Hold", "a"), state(0), state(0, "Step@Hold")),
        (state(0, "Step@Hold"), state(9, "a"), state(9, "Step@Hold", "a")),
    ],
)
def test_what_could_not_be_read_back_is_as_it_was(before: State | None, now: State, expect: State) -> None:
    assert keeping_step(now, before) == expect


@pytest.mark.parametrize("letter", ["a", "ü", "日", "🙂"])
def test_a_note_is_no_longer_than_the_api_server_takes(letter: str) -> None:
    """It counts bytes, so that a reason which the gateway took may be too long."""
    entry = Entry("k", EntryKind.ADJUSTMENT, "c", "a", 5, "dana", letter * 500, uid="u", amounts={"cpu": HOUR})
    found = of_entry(ALLOCATION, 12, entry, UNSCALED)
    assert found is not None
    note = event(found, datetime(2026, 1, 2, tzinfo=UTC))["note"]
    assert len(note.encode()) <= 1024
    assert found.note.startswith(note)
    assert note == found.note or len(note.encode()) + len(letter.encode()) > 1024
