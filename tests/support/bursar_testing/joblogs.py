"""Job logs of any size: a log repeated, each copy with its own users and its own beginning."""

import gzip
from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path

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
