"""Jobs in any number: a log repeated, each copy with its own users and its own beginning, and jobs made up."""

import gzip
import math
import random
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

from bursar_domain.buckets import JobUse

SHIFT_SECONDS = 7 * 86_400 + 1_237  # from one copy to the next: hours of the day and quarters do not fall on each other
SHIFT_USERS = 1_000
_NUMBER, _SUBMIT, _USER = 0, 1, 11


def repeated(source: Path, target: Path, jobs: int) -> Path:
    """Write a gzip log of so many jobs: the jobs of ``source`` again and again, later each time and by other users."""
    lines = gzip.decompress(source.read_bytes()).decode().splitlines()
    header = [line for line in lines if line.startswith(";")]
    found = [line.split() for line in lines if line.strip() and not line.startswith(";")]
    with gzip.open(target, "wt", compresslevel=5) as stream:
        stream.write("\n".join(header) + "\n")
        stream.writelines(f"{line}\n" for line in islice(_copies(found), jobs))
    return target


def _copies(found: list[list[str]]) -> Iterator[str]:
    number = count(1)
    for copy in count():
        for fields in found:
            changed = [*fields]
            changed[_NUMBER] = str(next(number))
            changed[_SUBMIT] = str(int(fields[_SUBMIT]) + copy * SHIFT_SECONDS)
            changed[_USER] = str(int(fields[_USER]) + copy * SHIFT_USERS)
            yield " ".join(changed)


def made_up(
    jobs: int, *, days: int = 90, accounts: int = 200, users: int = 1000, largest_array: int = 2_000, seed: int = 1
) -> Iterator[JobUse]:
    """Jobs as a busy site has them: arrays of one user, seconds to days long, with memory and some with GPUs."""
    dice = random.Random(seed)
    owners = [(f"user{number}", f"account{dice.randrange(accounts)}") for number in range(users)]
    made = 0
    while made < jobs:
        user, account = owners[int(users * dice.random() ** 2)]
        size = min(jobs - made, largest_array, max(1, int(math.exp(dice.gauss(2, 1.7)))))
        begin, typical = 1_700_000_000 + dice.randrange(days * 86_400), math.exp(dice.gauss(6.5, 1.5))
        cpus, gpus = 1 << dice.randrange(8), 1 + dice.randrange(4) if dice.random() < 0.3 else 0
        held = {"cpu": cpus, "memory": cpus * 2048} | ({"gpu": gpus} if gpus else {})
        for number in range(made, made + size):
            start = begin + dice.randrange(1 + min(size * 60, 86_400))
            seconds = 1 + min(172_800, int(typical * math.exp(dice.gauss(0, 1))))
            state = "NODE_FAIL" if dice.random() < 0.003 else "COMPLETED"
            yield JobUse(str(number), account, user, start, start + seconds, dict(held), state)
        made += size
