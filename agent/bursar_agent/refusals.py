"""Slots that the gateway refused: what for is kept in `refused.jsonl` for people, and they are not offered again as they are.

The file holds the newest refusals, about a megabyte of them. A slot is offered again when its content changes, when a session
begins, and when a new desired state came: an account that the gateway did not know may be known then.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import time

import orjson

from bursar_agent.files import append_durably, read_lines, replace
from bursar_domain.buckets import SlotKey
from bursar_domain.wire import Refused, SlotReport

MOST_BYTES = 1024 * 1024


class Refusals:
    """Of one cluster. ``counts``: slots refused by reason since the start, each version of a slot once."""

    def __init__(self, directory: Path, *, most_bytes: int = MOST_BYTES, clock: Callable[[], float] = time) -> None:
        self._path = directory / "refused.jsonl"
        self._most_bytes, self._clock = most_bytes, clock
        self._held: dict[SlotKey, int] = {}
        self._told: dict[SlotKey, tuple[int, str]] = {}
        self.counts: Counter[str] = Counter()

    def is_refused(self, key: SlotKey, seq: int) -> bool:
        """Whether this version of the slot was refused, and nothing happened since that could change the answer."""
        return self._held.get(key) == seq

    def __len__(self) -> int:
        return len(self._held)

    def offer_again(self) -> None:
        """The gateway may judge otherwise now."""
        self._held.clear()

    def note(self, refused: Sequence[tuple[SlotReport, Refused]]) -> list[Refused]:
        """Keep these; those that are news."""
        news = []
        for report, item in refused:
            key = SlotKey(report.account, report.hour)
            self._held[key] = report.seq
            if self._told.get(key) != (report.seq, item.reason):
                self._told[key] = report.seq, item.reason
                news.append((report, item))
        self._write(news)
        self.counts.update(item.reason for _, item in news)
        return [item for _, item in news]

    def _write(self, news: Iterable[tuple[SlotReport, Refused]]) -> None:
        at = int(self._clock())
        lines = [{"at": at, "reason": item.reason, "slot": report.model_dump(mode="json")} for report, item in news]
        if not lines:
            return
        append_durably(self._path, lines)
        if self._path.stat().st_size > self._most_bytes:
            self._shorten()

    def _shorten(self) -> None:
        """Keep the newest, half as much as may be there."""
        kept: list[bytes] = []
        size = 0
        for line in reversed([orjson.dumps(line) + b"\n" for line in read_lines(self._path)]):
            size += len(line)
            if size > self._most_bytes // 2:
                break
            kept.append(line)
        replace(self._path, kept[::-1])
