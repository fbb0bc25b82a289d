"""`bursar-agent replay` against sums made here, straight from the text."""

import gzip
import json
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bursar_testing.joblogs import repeated

LOG = Path(__file__).resolve().parents[2] / "manifests" / "examples" / "data" / "nasa-ipsc-1993.swf.gz"
TAIL = "-1 -1 -1 -1 -1 -1"


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-P", "-m", "bursar_agent", "replay", *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)


def summed(lines: list[str]) -> tuple[int, Counter[str], Counter[tuple[str, str]]]:
    """(jobs, seconds by group, seconds by group and user)."""
    jobs, groups, users = 0, Counter[str](), Counter[tuple[str, str]]()
    for line in lines:
        if not line.startswith(";") and line.strip():
            parts = line.split()
            seconds = int(parts[3]) * int(parts[4])
            jobs += 1
            groups[parts[12]] += seconds
            users[parts[12], parts[11]] += seconds
    return jobs, groups, users


def check(result: dict[str, Any], lines: list[str]) -> None:
    jobs, groups, users = summed(lines)
    assert result["jobs"] == jobs
    assert result["seconds"] == sum(groups.values())
    assert {name: account["cpu_seconds"] for name, account in result["accounts"].items()} == groups
    found = {(name, user): n for name, account in result["accounts"].items() for user, n in account["users"].items()}
    assert found == users


def test_the_whole_log_to_the_second(tmp_path: Path) -> None:
    done = run(LOG, "--json", tmp_path / "out.json")
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")
    result = json.loads((tmp_path / "out.json").read_text())
    assert (result["jobs"], result["skipped"], result["seconds"]) == (18_239, 0, 474_238_015)
    check(result, gzip.decompress(LOG.read_bytes()).decode().splitlines())


def test_a_log_many_times_as_long_to_the_second(tmp_path: Path) -> None:
    log = repeated(LOG, tmp_path / "log.gz", 60_000)
    done = run(log, "--json", tmp_path / "out.json")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["jobs"] == 60_000
    check(result, gzip.decompress(log.read_bytes()).decode().splitlines())


def test_a_plain_log_of_any_shape_on_stdout(tmp_path: Path) -> None:
    dice = random.Random(7)
    lines = ["; UnixStartTime: 1700000123"]
    for number in range(500):
        run_time = dice.choice([0, 1, 899, 900, 901, 3600, dice.randrange(10**6)])
        lines.append(
            f"{number} {dice.randrange(10**7)} -1 {run_time} {dice.randrange(1, 5000)} {TAIL}"
            f" {dice.randrange(5)} {dice.randrange(-1, 3)} -1 -1 -1 -1 -1"
        )
    (tmp_path / "log").write_text("\n".join(lines))
    done = run(tmp_path / "log")
    assert done.returncode == 0
    check(json.loads(done.stdout), lines)


def test_bad_lines_are_told_and_counted(tmp_path: Path) -> None:
    good = f"1 0 -1 10 4 {TAIL} 1 1 -1 -1 -1 -1 -1"
    (tmp_path / "log").write_text("\n".join([good, "what is this", good, good[:20], good.replace(" 10 ", " -1 ")]))
    done = run(tmp_path / "log", "--json", "-")
    assert done.returncode == 0
    assert "line 2: " in done.stderr
    assert "line 4: " in done.stderr
    result = json.loads(done.stdout)
    assert (result["jobs"], result["skipped"], result["seconds"]) == (2, 3, 80)


def test_a_broken_archive_is_told_without_a_traceback(tmp_path: Path) -> None:
    data = LOG.read_bytes()
    (tmp_path / "log.gz").write_bytes(data[: len(data) // 3])
    done = run(tmp_path / "log.gz", "--json", tmp_path / "out")
    assert done.returncode == 4
    assert "breaks off" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "out").read_text())["jobs"] > 1000


@pytest.mark.parametrize("content", [None, b"\x1f\x8bnot really"], ids=["absent", "no archive"])
def test_what_can_not_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "log").write_bytes(content)
    done = run(tmp_path / "log")
    assert done.returncode in (3, 4)
    assert str(tmp_path / "log") in done.stderr
    assert "Traceback" not in done.stderr
