"""The agent's books: slots as they were counted, what each account was charged, and what the gateway has not taken yet.

Everything lies in `usage.jsonl` of the state directory: one line per read that changed something, one per page that was
sent. In memory remain the charged quarters, a fingerprint per slot, and the slots that are to be sent.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bursar_agent.files import append_durably, read_lines, replace
from bursar_domain.buckets import NOTHING, QUARTERS, Amounts, Quarters, RowKey, SlotKey
from bursar_domain.units import QUARTER
from bursar_domain.wire import SlotReport, UsageRow

Rows = Mapping[RowKey, Amounts]
_FIRST = -(2**62)
COMPACT_LINES = 4
COMPACT_BYTES = 16 * 1024 * 1024
COMPACT_RATIO = 3


class Version(NamedTuple):
    """A slot as it was counted by the read of number ``seq``."""

    seq: int
    rows: Rows


class _Seen(NamedTuple):
    """What is kept of a slot that was counted."""

    fingerprint: int
    allocated: int


class UsageBook:
    """Slots of one cluster. ``watermark`` and ``covered_from``: the seconds between which use is complete."""

    def __init__(self, directory: Path, epoch: int, *, compact_bytes: int = COMPACT_BYTES) -> None:
        """Resume from disk; ``epoch`` is used where nothing is there yet and must grow from one loss of state to the next."""
        self._path = directory / "usage.jsonl"
        self.epoch = epoch
        self.seq = 0
        self.watermark: int | None = None
        self.covered_from: int | None = None
        self.sent_watermark: int | None = None
        self.unsent: dict[SlotKey, Version] = {}
        self._seen: dict[SlotKey, _Seen] = {}
        self._hours: defaultdict[int, set[str]] = defaultdict(set)
        self._charged: defaultdict[str, defaultdict[str, dict[int, Quarters]]] = defaultdict(lambda: defaultdict(dict))
        self._segments: dict[str, tuple[tuple[int, ...], dict[str, list[int]]]] = {}
        self._compact_bytes = self._compact_above = compact_bytes
        self._load()

    def record(self, slots: Mapping[SlotKey, Rows], since: int, watermark: int | None) -> int:
        """Count a read that covers every hour from ``since`` (a full hour) on; how many slots changed.

        Slots replace what was counted; those that are absent now are emptied.
        """
        stale = {SlotKey(account, hour) for hour in self._later_hours(since) for account in self._hours[hour]}
        wanted: dict[SlotKey, Rows] = {key: {} for key in stale}
        wanted |= {key: rows for key, rows in slots.items() if key.hour >= since}
        changed = {key: rows for key, rows in wanted.items() if self._differs(key, rows)}
        new_watermark = max(filter(None, (self.watermark, watermark)), default=None)
        covered = since if self.covered_from is None else min(self.covered_from, since)
        if not changed and new_watermark == self.watermark and covered == self.covered_from:
            return 0
        self.seq += 1
        line = {
            "kind": "read",
            "epoch": self.epoch,
            "seq": self.seq,
            "watermark": new_watermark,
            "from": covered,
            "slots": [_dump(key, Version(self.seq, rows)) for key, rows in changed.items()],
        }
        append_durably(self._path, [line])
        self.watermark, self.covered_from = new_watermark, covered
        for key, rows in changed.items():
            self._take(key, Version(self.seq, rows))
        self._compact_if_long()
        return len(changed)

    def begin(self, now: int) -> None:
        """There is no account of ours yet, so there is no use before ``now``: nothing older is ever read."""
        self.record({}, 0, now)

    def allocated(self, slots: Mapping[SlotKey, Rows], since: int) -> tuple[int, int]:
        """(before, now): unit-seconds allocated in the hours from ``since`` on, as counted and as this read has it."""
        counted = (SlotKey(name, hour) for hour in self._later_hours(since) for name in self._hours[hour])
        before = sum(self._seen[key].allocated for key in counted)
        now = sum(sum(amounts.allocated) for key, rows in slots.items() if key.hour >= since for amounts in rows.values())
        return before, now

    def _later_hours(self, since: int) -> list[int]:
        return [hour for hour in self._hours if hour >= since]

    def _differs(self, key: SlotKey, rows: Rows) -> bool:
        seen = self._seen.get(key)
        return seen.fingerprint != _fingerprint(rows) if seen else bool(rows)

    # Charged use

    def quarters(self, account: str, boundaries: tuple[int, ...]) -> dict[str, list[tuple[int, int]]]:
        """What the account was charged by resource, summed up between boundaries: [(first second, unit-seconds)].

        Between two boundaries the same allocations are active, so the attribution of the sum is that of its quarters.
        """
        cached = self._segments.get(account)
        if cached is None or cached[0] != boundaries:
            cached = (boundaries, self._sum_up(account, boundaries))
            self._segments[account] = cached
        starts = (_FIRST, *boundaries)
        return {name: [(at, n) for at, n in zip(starts, sums, strict=True) if n] for name, sums in cached[1].items()}

    def _sum_up(self, account: str, boundaries: tuple[int, ...]) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for resource, hours in self._charged.get(account, {}).items():
            sums = found[resource] = [0] * (len(boundaries) + 1)
            for hour, amounts in hours.items():
                for index, amount in enumerate(amounts):
                    sums[bisect_right(boundaries, hour + index * QUARTER)] += amount
        return found

    def _take(self, key: SlotKey, version: Version) -> None:
        """Put a slot in the place of what was counted for it."""
        self._charge(key, version.rows)
        allocated = sum(sum(amounts.allocated) for amounts in version.rows.values())
        self._seen[key] = _Seen(_fingerprint(version.rows), allocated)
        self._hours[key.hour].add(key.account)
        self.unsent[key] = version

    def _charge(self, key: SlotKey, rows: Rows) -> None:
        """Replace the four quarters of each resource, and keep the sums that the plan asks for in step."""
        after: dict[str, Quarters] = {}
        for row, amounts in rows.items():
            have = after.get(row.resource, NOTHING)
            after[row.resource] = _added(have, amounts)
        charged = self._charged[key.account]
        for name in {*after, *(name for name, hours in charged.items() if key.hour in hours)}:
            before, now = charged[name].get(key.hour, NOTHING), after.get(name, NOTHING)
            if any(now):
                charged[name][key.hour] = now
            else:
                charged[name].pop(key.hour, None)
            if key.account in self._segments and before != now:
                self._shift(key, name, before, now)

    def _shift(self, key: SlotKey, resource: str, before: Quarters, now: Quarters) -> None:
        boundaries, sums = self._segments[key.account]
        segments = sums.setdefault(resource, [0] * (len(boundaries) + 1))
        for index in range(QUARTERS):
            segments[bisect_right(boundaries, key.hour + index * QUARTER)] += now[index] - before[index]

    # What is to be sent

    def report(self, key: SlotKey) -> SlotReport:
        """An unsent slot as it is sent."""
        version = self.unsent[key]
        rows = tuple(
            UsageRow(user=row.user, resource=row.resource, allocated=amounts.allocated, refunded=amounts.refunded)
            for row, amounts in sorted(version.rows.items())
        )
        return SlotReport(account=key.account, hour=key.hour, epoch=self.epoch, seq=version.seq, rows=rows)

    def sent(self, reports: Sequence[SlotReport], watermark: int | None) -> None:
        """The gateway has these slots, and the watermark."""
        slots = [(report.account, report.hour, report.seq) for report in reports]
        append_durably(self._path, [{"kind": "sent", "slots": slots, "watermark": watermark}])
        self._forget(slots, watermark)
        self._compact_if_long()

    def _forget(self, slots: Iterable[Sequence[Any]], watermark: int | None) -> None:
        for account, hour, seq in slots:
            key = SlotKey(account, hour)
            version = self.unsent.get(key)
            if version is not None and version.seq <= seq:
                del self.unsent[key]
        if watermark is not None:
            self.sent_watermark = watermark

    # Disk

    def _load(self) -> None:
        latest: dict[SlotKey, Version] = {}
        lines, sent = 0, []
        for line in read_lines(self._path):
            lines += 1
            if line["kind"] == "sent":
                sent.append(line)
            else:
                self._resume(line, latest)
        for key, version in latest.items():
            self._take(key, version)
        for line in sent:
            self._forget(_list(line["slots"]), _optional(line["watermark"]))
        if lines > COMPACT_LINES + len(latest) // 8:
            self._compact(latest)
        self._note_size()

    def _note_size(self) -> None:
        size = self._path.stat().st_size if self._path.exists() else 0
        self._compact_above = max(self._compact_bytes, COMPACT_RATIO * size)

    def _compact_if_long(self) -> None:
        """Versions that were replaced go once they are most of the file."""
        if self._path.stat().st_size <= self._compact_above:
            return
        latest: dict[SlotKey, Version] = {}
        for line in read_lines(self._path):
            if line["kind"] == "read":
                self._resume(line, latest)
        self._compact(latest)
        self._note_size()

    def _resume(self, line: Mapping[str, Any], latest: dict[SlotKey, Version]) -> None:
        self.epoch, self.seq = line["epoch"], line["seq"]
        self.watermark, self.covered_from = line["watermark"], line["from"]
        for fields in line["slots"]:
            key, version = _load(fields)
            latest[key] = version

    def _compact(self, latest: Mapping[SlotKey, Version]) -> None:
        """One line for all slots, one for what was sent."""
        read = {
            "kind": "read",
            "epoch": self.epoch,
            "seq": self.seq,
            "watermark": self.watermark,
            "from": self.covered_from,
            "slots": [_dump(key, version) for key, version in latest.items()],
        }
        done = [(key.account, key.hour, version.seq) for key, version in latest.items() if key not in self.unsent]
        sent = {"kind": "sent", "slots": done, "watermark": self.sent_watermark}
        replace(self._path, b"".join(orjson.dumps(line) + b"\n" for line in (read, sent)))


def _dump(key: SlotKey, version: Version) -> list[object]:
    """A slot in the file: account, hour, seq, then per row user, resource and the eight amounts."""
    rows = [[*row, *amounts.allocated, *amounts.refunded] for row, amounts in version.rows.items()]
    return [key.account, key.hour, version.seq, rows]


def _load(fields: Sequence[Any]) -> tuple[SlotKey, Version]:
    account, hour, seq, rows = fields
    found = {RowKey(row[0], row[1]): Amounts(_quarters(row[2:6]), _quarters(row[6:10])) for row in rows}
    return SlotKey(account, hour), Version(seq, found)


def _quarters(amounts: Sequence[int]) -> Quarters:
    first, second, third, fourth = amounts
    return first, second, third, fourth


def _added(have: Quarters, amounts: Amounts) -> Quarters:
    """Four quarters and what one row charges in each."""
    a, r = amounts
    return (have[0] + a[0] - r[0], have[1] + a[1] - r[1], have[2] + a[2] - r[2], have[3] + a[3] - r[3])


def _fingerprint(rows: Rows) -> int:
    return hash(frozenset(rows.items()))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _optional(value: object) -> int | None:
    return value if isinstance(value, int) else None
