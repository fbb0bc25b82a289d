"""The journal: a crash at any byte leaves one that resumes."""

from pathlib import Path

import pytest

from bursar_agent.brake import Engaged
from bursar_agent.files import DamagedFile, StateInUse, locked
from bursar_agent.journal import Journal
from bursar_agent.memory import AccountMemory, Known

FIRST = AccountMemory(
    account="a",
    entry_digest="d1",
    windows={"x": Known(900, 1800, 2700, {"cpu": 5})},
    room={"cpu": 5},
    rules={"x": ("Hold@Used95",)},
    limits={"cpu": 7},
    caps={"cpu": 3},
    members=("ann",),
    held=True,
    qos="soft",
)
SECOND = AccountMemory("b", "d2")


def state(journal: Journal) -> tuple[object, ...]:
    return journal.number, dict(journal.memories), set(journal.in_doubt), journal.engaged


def steps(directory: Path) -> list[tuple[object, ...]]:
    """The states that a working life goes through, each of them on disk."""
    journal = Journal(directory)
    seen = [state(journal)]
    journal.intend(["a", "b", "bursar"], 3)
    seen.append(state(journal))
    journal.prove([FIRST])
    seen.append(state(journal))
    journal.settle("bursar")
    seen.append(state(journal))
    journal.set_brake(Engaged(3, frozenset({"b"})))
    seen.append(state(journal))
    journal.prove([SECOND])
    seen.append(state(journal))
    journal.set_brake(None)
    seen.append(state(journal))
    return seen


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    expected = steps(tmp_path)[-1]
    assert state(Journal(tmp_path)) == expected
    assert Journal(tmp_path).memories["a"] == FIRST


def test_a_crash_at_any_byte_resumes_at_the_last_whole_line_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "life").mkdir()
    seen = steps(tmp_path / "life")
    whole = (tmp_path / "life" / "journal.jsonl").read_bytes()
    for cut in range(len(whole) + 1):
        directory = tmp_path / str(cut)
        directory.mkdir()
        (directory / "journal.jsonl").write_bytes(whole[:cut])
        journal = Journal(directory)
        assert state(journal) in seen
        journal.prove([AccountMemory("after", "d3")])
        again = Journal(directory)
        assert again.memories["after"].entry_digest == "d3"
        assert state(again) == state(journal)


@pytest.mark.parametrize("crash", ["before the lines are emptied", "not at all"])
def test_a_snapshot_holds_the_sum_and_old_lines_are_not_taken_twice(tmp_path: Path, crash: str) -> None:
    expected = steps(tmp_path)[-1]
    lines = (tmp_path / "journal.jsonl").read_bytes()
    Journal(tmp_path).compact()
    if crash != "not at all":
        (tmp_path / "journal.jsonl").write_bytes(lines)
    journal = Journal(tmp_path)
    assert state(journal) == expected
    journal.intend(["c"], 4)
    assert Journal(tmp_path).in_doubt == {"c"}


def test_a_damaged_snapshot_is_named(tmp_path: Path) -> None:
    (tmp_path / "journal-snapshot.json").write_text("{")
    with pytest.raises(DamagedFile, match="journal-snapshot"):
        Journal(tmp_path)


def test_what_is_known_already_costs_no_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.prove([FIRST, SECOND])
    number = journal.number
    journal.prove([FIRST, SECOND])
    assert journal.number == number


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StateInUse, match="another agent"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_what_an_older_agent_wrote_is_read() -> None:
    old = {
        "account": "a",
        "entry_digest": "d1",
        "active": ["x"],
        "room": {"cpu": 5},
        "rules": {"x": ["Hold@95"]},
        "limits": {"cpu": 7},
        "members": ["ann"],
        "held": True,
    }
    expect = AccountMemory("a", "d1", {}, {"cpu": 5}, {"x": ("Hold@Used95",)}, {"cpu": 7}, members=("ann",), held=True)
    assert AccountMemory.load(old) == expect
