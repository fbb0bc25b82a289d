"""Reading job logs: strict fields, faults by number, broken archives."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from bursar_agent import swf

GOOD = "1 0 -1 1451 128 -1 -1 -1 -1 -1 -1 1 1 -1 -1 -1 -1 -1"


def read(path: Path, report: Callable[[swf.Fault], None] = lambda fault: None) -> tuple[list[swf.LogJob], swf.Log]:
    """All of it."""
    log = swf.Log()
    return list(swf.read(path, log, report)), log


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_line_is_a_job(tmp_path: Path) -> None:
    jobs, log = read(write(tmp_path / "log", "; UnixStartTime: 749458803", "", GOOD))
    assert log.unix_start == 749458803
    assert jobs == [swf.LogJob(3, 1, 0, 1451, 128, "1", "1")]
    assert log.skipped == 0


def test_a_waiting_time_moves_the_start_and_a_limit_is_read(tmp_path: Path) -> None:
    ((job,), _) = read(write(tmp_path / "log", "7 100 20 60 4 55.5 -1 4 3600 -1 1 8 2 -1 1 -1 -1 -1"))
    assert (job.start, job.seconds, job.limit) == (120, 60, 3600)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("1 0 -1 1451 128", "5 fields where a job has 18"),
        (GOOD + " 9", "19 fields"),
        (GOOD.replace("1451", "14x51"), "field 4 is '14x51'"),
        (GOOD.replace("1451", "1_451"), "field 4"),
        (GOOD.replace("1451", "١٤٥١"), "field 4"),
        (GOOD.replace("1451", "14.5"), "field 4"),
        (GOOD.replace("1451", "1" * 30), "field 4"),
        (GOOD.replace("1451", "99999999999"), "more than any machine has seen"),
        (GOOD[:-1], "field 18 is '-'"),
        ("garbage", "1 fields"),
        ("\x00\x01\x02", "1 fields"),
    ],
)
def test_a_garbled_line_is_reported_with_its_number_and_skipped(tmp_path: Path, line: str, words: str) -> None:
    told: list[swf.Fault] = []
    jobs, log = read(write(tmp_path / "log", GOOD, line, GOOD), told.append)
    assert [fault.line for fault in told] == [2]
    assert words in str(told[0])
    assert str(told[0]).startswith("line 2: ")
    assert len(jobs) == 2
    assert log.skipped == log.faults == 1


@pytest.mark.parametrize(
    "fields", ["1 0 -1 -1 128", "1 0 -1 10 0", "1 0 -1 10 -1"], ids=["no run time", "no processors", "unknown processors"]
)
def test_jobs_that_say_too_little_are_skipped_and_zero_seconds_are_not(tmp_path: Path, fields: str) -> None:
    rest = " -1 -1 -1 -1 -1 -1 1 1 -1 -1 -1 -1 -1"
    jobs, log = read(write(tmp_path / "log", fields + rest, "1 0 -1 0 1" + rest))
    assert log.skipped == log.unbookable == 1
    assert [job.seconds for job in jobs] == [0]


def test_an_archive_that_breaks_off_gives_what_came_before(tmp_path: Path) -> None:
    lines = "".join(f"{number} {GOOD[2:]}\n" for number in range(5000)).encode()
    whole = gzip.compress(lines)
    (tmp_path / "log.gz").write_bytes(whole[: len(whole) // 2])
    jobs, log = read(tmp_path / "log.gz")
    assert log.truncated
    assert 0 < len(jobs) < 5000
    assert [job.number for job in jobs] == list(range(len(jobs)))


def test_a_log_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(swf.UnreadableLog, match="nothing-here"):
        read(tmp_path / "nothing-here")


def test_a_log_is_read_as_it_is_asked_for(tmp_path: Path) -> None:
    """Nobody holds all jobs of a log of any length."""
    log = swf.Log()
    jobs = swf.read(write(tmp_path / "log", GOOD, "garbage", GOOD), log)
    next(jobs)
    assert log.faults == 0
    assert len(list(jobs)) == 1
    assert log.faults == 1
