"""Each account's books in memory: its entries, the terms that they make, its use between cuts, and the fold over it all."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence, Set
from itertools import islice, takewhile
from typing import Any, Final

from bursar_domain import closing, fold, projection
from bursar_domain.closing import Subject
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import Correction
from bursar_domain.projection import Rate
from bursar_domain.terms import Rules, Terms, build
from bursar_domain.wire import AllocationEntry
from bursar_ledger.entries import Booked
from bursar_ledger.ledger import Ledger
from bursar_operator.directory import Directory
from bursar_operator.domain import periods, postings
from bursar_operator.published import Publications
from bursar_operator.recent import Recent

Obj = Mapping[str, Any]
Key = tuple[str, str]
Spans = Mapping[str, Sequence[tuple[int, int]]]
TERMS_MAXIMUM: Final = 6_000
FOLDS_MAXIMUM: Final = 2_000
UNSETTLED_AT_ONCE: Final = 1_000


class Accounts:
    """Keyed by cluster and account.

    ``published`` knows what was published of every allocation, ``clock`` a cluster's time. Grants are by far the most entries:
    they are kept by allocation alone. Terms are kept of the allocations that were asked about last.
    """

    def __init__(
        self,
        ledger: Ledger,
        directory: Directory,
        published: Publications,
        clock: Callable[[str], int],
    ) -> None:
        self._ledger = ledger
        self._directory = directory
        self._published = published
        self._clock = clock
        self._entries: dict[Key, list[Booked]] = {}
        self._last: dict[Key, int] = {}
        self._by_uid: dict[str, tuple[Entry, ...]] = {}
        self._keys: set[str] = set()
        self._use: dict[Key, tuple[frozenset[int], Spans]] = {}
        self._rates: dict[Key, dict[str, Rate | None]] = {}
        self._terms: Recent[str, tuple[object, Terms]] = Recent(TERMS_MAXIMUM)
        self._folds: Recent[Key, fold.AccountBooks] = Recent(FOLDS_MAXIMUM)
        self._moved: set[Key] = set()
        self.heard: Callable[[Booked], None] = _unheard

    async def load(self) -> None:
        """Read every entry."""
        async for booked in self._ledger.each_entry():
            self._take(booked)

    async def refresh_entries(self, key: Key) -> bool:
        """Read what was booked since; whether there was anything, though somebody else read it at the same time."""
        found = await self._ledger.entries(*key, after=self._last.get(key, 0))
        for booked in found:
            if booked.number > self._last.get(key, 0):
                self._take(booked)
                self.heard(booked)
        self.forget(key)
        return bool(found)

    def recent(self, since: int) -> list[Booked]:
        """What was booked since beside grants, by the clock of who wrote it."""
        return [
            item for known in self._entries.values() for item in takewhile(lambda b: b.recorded_at >= since, reversed(known))
        ]

    async def book(self, entries: Sequence[Entry], now: int) -> None:
        """Book entries of whatever accounts."""
        if entries:
            await self._ledger.append(entries, now)
            for key in {(entry.cluster, entry.account) for entry in entries}:
                await self.refresh_entries(key)

    def _take(self, booked: Booked) -> None:
        entry, key = booked.entry, (booked.entry.cluster, booked.entry.account)
        self._last[key] = booked.number
        if entry.uid:
            self._by_uid[entry.uid] = (*self._by_uid.get(entry.uid, ()), entry)
        if entry.kind is not EntryKind.GRANT:
            self._entries.setdefault(key, []).append(booked)
            self._keys.add(entry.key)

    # Terms

    def entries(self, key: Key) -> Sequence[Booked]:
        """The account's entries but for grants, in order."""
        return self._entries.get(key, ())

    def has_use(self, key: Key) -> bool:
        """Whether use was ever booked on it."""
        return key in self._use

    def is_adjusted(self, uid: str) -> bool:
        """Whether anything but grants was booked for an allocation."""
        return any(item.kind is not EntryKind.GRANT for item in self._of(uid))

    def count(self, uid: str) -> int:
        """How many entries were booked for an allocation."""
        return len(self._of(uid))

    def is_posted(self, uid: str) -> bool:
        """Whether a grant was posted for it."""
        return any(item.kind is EntryKind.GRANT for item in self._of(uid))

    def pool(self, uid: str) -> str:
        """The pool that its grants were drawn on; "" where nothing was posted."""
        return next((item.reference for item in reversed(self._of(uid)) if item.kind is EntryKind.GRANT), "")

    def planned(self, allocation: Obj, key: Key, now: int | None, *, is_first: bool) -> list[Entry]:
        """Postings that an allocation needs. ``is_first``: nothing of it was posted yet though it had hours before."""
        uid = allocation["metadata"]["uid"]
        own = self._of(uid)
        granted = periods.grant_of(allocation, key[1], self._directory.scales(key[0]))
        return postings.planned(granted, own, now, has_use=self.has_use(key) and not (is_first and not own))

    def planned_for_gone(self, entry: AllocationEntry, key: Key, now: int | None) -> list[Entry]:
        """Postings that close an allocation whose object is gone."""
        own = self._of(entry.uid)
        return postings.planned(periods.grant_of_entry(entry, *key), own, now, has_use=self.has_use(key)) if own else []

    def terms(self, key: Key) -> list[Terms]:
        """Terms of every allocation that something was posted for, living or gone."""
        living, alive = [], set()
        for item in self._directory.allocations(*key):
            alive.add(item["metadata"]["uid"])
            if self.is_posted(item["metadata"]["uid"]):
                living.append(self.living(item))
        return living + self.ended(key, alive)

    def ended(self, key: Key, alive: Set[str]) -> list[Terms]:
        """Terms of allocations whose objects are gone, which is all but those that are ``alive``."""
        uids = (uid for uid in self._published.of_account(key) if uid not in alive and self.is_posted(uid))
        gone = (entry for uid in uids if (entry := self._published.entry(uid)) is not None)
        return [build(periods.rules_of_entry(item), self._of(item.uid)) for item in gone]

    def living(self, allocation: Obj) -> Terms:
        """Terms of one allocation, built once for each spec and entry."""
        uid = allocation["metadata"]["uid"]
        own = self._of(uid)
        granted = tuple(item["name"] for item in (allocation.get("status") or {}).get("granted") or ())
        token = (allocation["metadata"]["generation"], "deletionTimestamp" in allocation["metadata"], granted, len(own))
        before = self._terms.get(uid)
        if before is None or before[0] != token:
            rules = self._rules(allocation, before[1] if before is not None else None)
            before = self._terms.put(uid, (token, build(rules, own)))
        return before[1]

    def _rules(self, allocation: Obj, known: Terms | None) -> Rules:
        """What is being deleted is as it was published: nobody judges what is changed of it then."""
        entry, key = self._published.entry(allocation["metadata"]["uid"]), self._directory.key_of(allocation)
        published = None if entry is None else periods.rules_of_entry(entry)
        if "deletionTimestamp" in allocation["metadata"] and published is not None:
            return published
        rules, before = periods.rules_of(allocation), known or published
        if before is None:
            return rules
        now = self._clock(key[0]) if key is not None and self.has_use(key) else None
        return rules.moved(before, now)

    def _of(self, uid: str) -> Sequence[Entry]:
        return self._by_uid.get(uid, ())

    def corrections(self, key: Key) -> tuple[Correction, ...]:
        """Corrections of closed slots, one for each quarter and resource that changed."""
        return tuple(
            correction
            for item in self.entries(key)
            if item.entry.kind is EntryKind.CORRECTION
            for correction in fold.corrections_in(item.entry)
        )

    # Use

    async def refresh_use(self, key: Key, now: int) -> None:
        """Read an account's use again, summed between the cuts of its terms, and its rate at the cluster's ``now``."""
        terms = self.terms(key)
        names = {name for item in terms for name in item.resources}
        since = {name: projection.since(terms, name, now) for name in names}
        cuts = set(fold.cuts(terms, self.corrections(key)))
        spans = await self._ledger.spans(*key, sorted(cuts | {at for at in since.values() if at is not None}))
        self._use[key] = frozenset(cuts), spans
        self._rates[key] = {name: projection.rate(_used(spans.get(name, ()), at), at, now) for name, at in since.items()}
        self._folds.drop(key)

    def rates(self, key: Key) -> Mapping[str, Rate | None]:
        """At which rate the account used each resource when its use was read last."""
        return self._rates.get(key, {})

    def forget(self, key: Key) -> None:
        """Something that the terms rest on changed: fold again, and read the use again where it was cut otherwise."""
        self._folds.drop(key)
        if key in self._use:
            self._moved.add(key)

    async def unsettled(self) -> AsyncIterator[Key]:
        """Accounts whose use was read with other cuts than their terms have now.

        One after the other, for others to have turns between, and of very many some: who asks has more to do.
        """
        for key in list(islice(self._moved, UNSETTLED_AT_ONCE)):
            await asyncio.sleep(0)
            if self._use[key][0] >= self._cuts(key):
                self._moved.discard(key)
            else:
                yield key

    def _cuts(self, key: Key) -> set[int]:
        return set(fold.cuts(self.terms(key), self.corrections(key)))

    async def all_cuts(self) -> dict[Key, frozenset[int]]:
        """The seconds at which each account's use may not be summed over; others have turns meanwhile."""
        found = {}
        for key in list(self._use):
            await asyncio.sleep(0)
            found[key] = frozenset(self._cuts(key))
        return found

    def drop(self, uid: str) -> None:
        """The allocation's object is gone."""
        self._terms.drop(uid)

    def books(self, key: Key) -> fold.AccountBooks:
        """The fold over everything known."""
        found = self._folds.get(key)
        if found is None:
            spans = self._use[key][1] if key in self._use else {}
            found = self._folds.put(key, fold.fold(self.terms(key), spans, self.corrections(key)))
        return found

    def closes(self, allocation: Obj) -> int | None:
        """The watermark at which the first window that has no entries yet closes; None where there is none."""
        if not self.is_posted(allocation["metadata"]["uid"]):
            return None
        terms = self.living(allocation)
        numbers = range(len(terms.windows))
        open_ones = (number for number in numbers if closing.keys(terms, number)[1] not in self._keys)
        return min((closing.closes(terms, number) for number in open_ones), default=None)

    def closings(self, allocation: Obj, key: Key, watermark: int) -> list[Entry]:
        """Entries of windows whose last slot is closed."""
        metadata = allocation["metadata"]
        if not self.is_posted(metadata["uid"]):
            return []
        terms = self.living(allocation)
        if all(closing.keys(terms, number)[1] in self._keys for number in closing.closed_windows(terms, watermark)):
            return []
        carry = periods.carry_of(allocation, self._directory.scales(key[0]))
        subject = Subject(*key, metadata["namespace"], metadata["name"], carry)
        return closing.closings(subject, terms, self.books(key), watermark, self._keys)


def _used(spans: Iterable[tuple[int, int]], since: int | None) -> int:
    return sum(amount for at, amount in spans if since is not None and at >= since)


def _unheard(_: Booked) -> None:
    return None
