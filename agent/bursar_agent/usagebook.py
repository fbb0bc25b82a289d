"""The agent's books: slots as they were counted, what each account was charged, and what the gateway has not taken yet.

Everything lies in `usage.jsonl` of the state directory: one line per read that changed something, one per page that was
sent. In memory remain the charged quarters, a fingerprint per slot, and the slots that are to be sent.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from bursar_agent.files import append_durably, read_lines, replace
from bursar_domain.buckets import Amounts, RowKey, SlotKey
from bursar_domain.units import HOUR, QUARTER
from bursar_domain.wire import SlotReport, UsageRow

Rows = Mapping[RowKey, Amounts]
Quarters = dict[int, int]
_FIRST = -(2**62)
COMPACT_LINES = 4


@dataclass(frozen=True, slots=True)
class _Seen:
    """What is kept of a slot that was counted."""

    seq: int
    fingerprint: int
    allocated: int


class UsageBook:
    """Slots of one cluster. ``watermark`` and ``covered_from``: the seconds between which use is complete."""

    def __init__(self, directory: Path, epoch: int) -> None:
        """Resume from disk; ``epoch`` is used where nothing is there yet and must grow from one loss of state to the next."""
        self._path = directory / "usage.jsonl"
        self.epoch = epoch
        self.seq = 0
        self.watermark: int | None = None
        self.covered_from: int | None = None
        self.sent_watermark: int | None = None
        self.unsent: dict[SlotKey, SlotReport] = {}
        self._seen: dict[SlotKey, _Seen] = {}
        self._hours: defaultdict[int, set[str]] = defaultdict(set)
        self._charged: defaultdict[str, defaultdict[str, Quarters]] = defaultdict(lambda: defaultdict(dict))
        self._segments: dict[str, tuple[tuple[int, ...], dict[str, list[int]]]] = {}
        self._load()

    def record(self, slots: Mapping[SlotKey, Rows], since: int, watermark: int | None) -> list[SlotReport]:
        """Count a read that covers every hour from ``since`` (a full hour) on: slots replace, absent ones are emptied."""
        stale = {SlotKey(account, hour) for hour in self._later_hours(since) for account in self._hours[hour]}
        wanted: dict[SlotKey, Rows] = {key: {} for key in stale}
        wanted |= {key: rows for key, rows in slots.items() if key.hour >= since}
        changed = {key: rows for key, rows in wanted.items() if self._differs(key, rows)}
        new_watermark = max(filter(None, (self.watermark, watermark)), default=None)
        covered = since if self.covered_from is None else min(self.covered_from, since)
        if not changed and new_watermark == self.watermark and covered == self.covered_from:
            return []
        self.seq += 1
        reports = [_report(key, rows, self.epoch, self.seq) for key, rows in sorted(changed.items())]
        line = {
            "kind": "read",
            "epoch": self.epoch,
            "seq": self.seq,
            "watermark": new_watermark,
            "from": covered,
            "slots": [report.model_dump(mode="json") for report in reports],
        }
        append_durably(self._path, [line])
        self.watermark, self.covered_from = new_watermark, covered
        for report in reports:
            self._take(report)
        return reports

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
        for resource, quarters in self._charged.get(account, {}).items():
            sums = found[resource] = [0] * (len(boundaries) + 1)
            for at, amount in quarters.items():
                sums[bisect_right(boundaries, at)] += amount
        return found

    def _take(self, report: SlotReport) -> None:
        """Put a slot in the place of what was counted for it."""
        key = SlotKey(report.account, report.hour)
        rows = {RowKey(row.user, row.resource): Amounts(row.allocated, row.refunded) for row in report.rows}
        self._charge(key, rows)
        allocated = sum(sum(amounts.allocated) for amounts in rows.values())
        self._seen[key] = _Seen(report.seq, _fingerprint(rows), allocated)
        self._hours[key.hour].add(key.account)
        self.unsent[key] = report

    def _charge(self, key: SlotKey, rows: Rows) -> None:
        after: defaultdict[tuple[str, int], int] = defaultdict(int)
        for row, amounts in rows.items():
            for index, (allocated, refunded) in enumerate(zip(amounts.allocated, amounts.refunded, strict=True)):
                after[row.resource, key.hour + index * QUARTER] += allocated - refunded
        charged = self._charged[key.account]
        hour = range(key.hour, key.hour + HOUR, QUARTER)
        before = {(name, at): quarters[at] for name, quarters in charged.items() for at in hour if at in quarters}
        for name, at in {*before, *after}:
            self._move(key.account, name, at, before.get((name, at), 0), after.get((name, at), 0))

    def _move(self, account: str, resource: str, at: int, before: int, after: int) -> None:
        if after:
            self._charged[account][resource][at] = after
        else:
            self._charged[account][resource].pop(at, None)
        cached = self._segments.get(account)
        if cached and before != after:
            boundaries, sums = cached
            sums.setdefault(resource, [0] * (len(boundaries) + 1))[bisect_right(boundaries, at)] += after - before

    # What is to be sent

    def sent(self, reports: Sequence[SlotReport], watermark: int | None) -> None:
        """The gateway has these slots, and the watermark."""
        line = {"kind": "sent", "slots": [(r.account, r.hour, r.seq) for r in reports], "watermark": watermark}
        append_durably(self._path, [line])
        self._forget([(r.account, r.hour, r.seq) for r in reports], watermark)

    def _forget(self, slots: Iterable[Sequence[Any]], watermark: int | None) -> None:
        for account, hour, seq in slots:
            key = SlotKey(account, hour)
            report = self.unsent.get(key)
            if report is not None and report.seq <= seq:
                del self.unsent[key]
        if watermark is not None:
            self.sent_watermark = watermark

    # Disk

    def _load(self) -> None:
        latest: dict[SlotKey, dict[str, Any]] = {}
        lines, sent = 0, []
        for line in read_lines(self._path):
            lines += 1
            if line["kind"] == "sent":
                sent.append(line)
            else:
                self._resume(line, latest)
        for fields in latest.values():
            self._take(SlotReport.model_validate(fields))
        for line in sent:
            self._forget(_list(line["slots"]), _optional(line["watermark"]))
        if lines > COMPACT_LINES + len(latest) // 8:
            self._compact(latest)

    def _resume(self, line: Mapping[str, Any], latest: dict[SlotKey, dict[str, Any]]) -> None:
        self.epoch, self.seq = line["epoch"], line["seq"]
        self.watermark, self.covered_from = line["watermark"], line["from"]
        for fields in line["slots"]:
            latest[SlotKey(fields["account"], fields["hour"])] = fields

    def _compact(self, latest: Mapping[SlotKey, Mapping[str, Any]]) -> None:
        """One line for all slots, one for what was sent."""
        read = {
            "kind": "read",
            "epoch": self.epoch,
            "seq": self.seq,
            "watermark": self.watermark,
            "from": self.covered_from,
            "slots": list(latest.values()),
        }
        done = [(key.account, key.hour, fields["seq"]) for key, fields in latest.items() if key not in self.unsent]
        sent = {"kind": "sent", "slots": done, "watermark": self.sent_watermark}
        replace(self._path, b"".join(orjson.dumps(line) + b"\n" for line in (read, sent)))


def _report(key: SlotKey, rows: Rows, epoch: int, seq: int) -> SlotReport:
    listed = tuple(
        UsageRow(user=row.user, resource=row.resource, allocated=amounts.allocated, refunded=amounts.refunded)
        for row, amounts in sorted(rows.items())
    )
    return SlotReport(account=key.account, hour=key.hour, epoch=epoch, seq=seq, rows=listed)


def _fingerprint(rows: Rows) -> int:
    return hash(frozenset(rows.items()))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _optional(value: object) -> int | None:
    return value if isinstance(value, int) else None
