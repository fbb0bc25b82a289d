"""The independent side of the book check: sums straight from the job log and from `sacct`, with none of the product's code."""

import csv
import gzip
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_TIME, PROCESSORS, USER = 3, 4, 11


@dataclass(frozen=True, slots=True)
class Expected:
    """Jobs that ran, and CPU seconds per account."""

    jobs: int
    seconds: Mapping[str, int]


def accounts_of(users_table: Path) -> dict[str, str]:
    """Log user -> account."""
    with users_table.open(newline="") as file:
        return {row["log_user"]: row["account"] for row in csv.DictReader(file)}


def from_log(log: Path, users_table: Path) -> Expected:
    """Processors times run time of every job of the log, added up per account."""
    accounts = accounts_of(users_table)
    seconds: Counter[str] = Counter()
    jobs = 0
    with gzip.open(log, "rt", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(";") or not line.strip():
                continue
            fields = line.split()
            run_time, processors = int(fields[RUN_TIME]), int(fields[PROCESSORS])
            if run_time < 0 or processors <= 0:
                continue
            jobs += 1
            seconds[accounts[fields[USER]]] += run_time * processors
    return Expected(jobs, dict(seconds))


def from_sacct(text: str) -> Expected:
    """CPUs times elapsed seconds of every record of `sacct -XPn -o account,alloccpus,elapsedraw`."""
    seconds: Counter[str] = Counter()
    jobs = 0
    for line in text.splitlines():
        account, cpus, elapsed = line.split("|")
        jobs += 1
        seconds[account] += int(cpus) * int(elapsed)
    return Expected(jobs, dict(seconds))


def booked(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """CPU seconds per account of the gateway's usage rows."""
    seconds: Counter[str] = Counter()
    for row in rows:
        if row["resource"] == "cpu":
            seconds[row["account"]] += row["allocated"]
    return dict(seconds)


def differences(expected: Mapping[str, int], found: Mapping[str, int]) -> dict[str, int]:
    """Accounts whose books are off, by how many seconds (booked less expected)."""
    names = sorted({*expected, *found})
    return {n: found.get(n, 0) - expected.get(n, 0) for n in names if found.get(n, 0) != expected.get(n, 0)}
