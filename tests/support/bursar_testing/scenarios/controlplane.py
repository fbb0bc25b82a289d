"""The operator's part in a scenario: it posts grants, closes windows, judges thresholds and publishes entries."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bursar_domain import projection
from bursar_domain.closing import closings
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import AccountBooks, Correction, cuts, fold
from bursar_domain.published import correction_entries
from bursar_domain.terms import Terms
from bursar_domain.units import QUARTER, UNSCALED
from bursar_domain.wire import AccountEntry
from bursar_testing.scenarios.books import Books, Spans, corrections_of
from bursar_testing.scenarios.holdings import Holding
from bursar_testing.scenarios.judge import Judgement, Rates, judge
from bursar_testing.scenarios.model import EventForm, Hours, Scenario


class Impossible(AssertionError):
    """A scenario asks for what nobody could do then."""


@dataclass(frozen=True)
class Account:
    """One account at one time: terms of every allocation, and what came of folding its use."""

    terms: Sequence[Terms]
    corrections: Sequence[Correction]
    books: AccountBooks


@dataclass(frozen=True)
class Firing:
    """A threshold that came into force, or went out of it, in a window."""

    uid: str
    window: int
    rule: str
    direction: str


@dataclass
class ControlPlane:
    """Holdings by name, what agents told, and what was judged. ``clocks``: each cluster's time as last told."""

    books: Books
    holdings: dict[str, Holding] = field(default_factory=dict)
    clocks: dict[str, int] = field(default_factory=dict)
    committed: dict[tuple[str, str], Mapping[str, int]] = field(default_factory=dict)
    rules: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)
    judgements: dict[tuple[str, str], Judgement] = field(default_factory=dict)
    firings: list[Firing] = field(default_factory=list)
    requests: int = 0

    def create(self, scenario: Scenario, name: str) -> None:
        """An allocation is created."""
        form = scenario.allocations[name]
        self.holdings[name] = Holding(name, form.project, form.cluster, form.spec)

    def owners(self) -> set[tuple[str, str]]:
        """(cluster, account) of every allocation that ever was."""
        return {(item.cluster, item.project) for item in self.holdings.values()}

    # Reconcile

    async def reconcile(self) -> dict[tuple[str, str], AccountEntry]:
        """Post, close, judge; the entries to publish."""
        for holding in self.holdings.values():
            await self._post(holding)
        found = {}
        for cluster, account in sorted(self.owners()):
            await self._close(cluster, account)
            await self._judge(cluster, account)
            found[cluster, account] = await self._published(cluster, account)
        return found

    async def _post(self, holding: Holding) -> None:
        if holding.posted == holding.revision:
            return
        clock = self.clocks.get(holding.cluster)
        used = await self.books.spans(holding.cluster, holding.project, ())
        at = holding.start if clock is None or not (holding.posted or used) else max(holding.start, _quarter(clock))
        await self.books.append(holding.postings(at))
        holding.posted = holding.revision

    async def _close(self, cluster: str, account: str) -> None:
        watermark = await self.books.watermark(cluster)
        if watermark is None:
            return
        here = await self.account(cluster, account)
        known = {entry.key for entry in await self.books.entries(cluster, account)}
        for terms in here.terms:
            subject = self.holdings[terms.uid].subject
            await self.books.append(closings(subject, terms, here.books, watermark, known))

    async def _judge(self, cluster: str, account: str) -> None:
        now = self.clocks.get(cluster)
        if now is None:
            return
        here = await self.account(cluster, account)
        alive = {uid: item.thresholds for uid, item in self.holdings.items() if not item.deleted}
        rates = Rates({name: await self._rate(cluster, account, here.terms, name, now) for name in _resources(here.terms)})
        committed = self.committed.get((cluster, account), {})
        found = judge(here.books, alive, now, self.rules, committed, rates)
        self._fire(found)
        self.judgements[cluster, account] = found

    async def _rate(
        self, cluster: str, account: str, terms: Sequence[Terms], resource: str, now: int
    ) -> projection.Rate | None:
        since = projection.since(terms, resource, now)
        if since is None:
            return None
        spans = await self.books.spans(cluster, account, (since,))
        return projection.rate(sum(amount for at, amount in spans.get(resource, ()) if at >= since), since, now)

    def _fire(self, found: Judgement) -> None:
        for uid, (window, keys) in found.rules.items():
            number, before = self.rules.get(uid, (window, frozenset[str]()))
            before = before if number == window else frozenset()
            news = [Firing(uid, window, key, "up") for key in sorted(keys - before)]
            news += [Firing(uid, window, key, "down") for key in sorted(before - keys)]
            self.firings += [firing for firing in news if firing not in self.firings]
            self.rules[uid] = window, keys

    # What is known

    async def account(self, cluster: str, account: str) -> Account:
        """Terms and books of an account now."""
        entries = await self.books.entries(cluster, account)
        terms = [item.terms(entries) for item in self._held(cluster, account)]
        corrections = corrections_of(entries)
        spans: Spans = await self.books.spans(cluster, account, cuts(terms, corrections))
        return Account(terms, corrections, fold(terms, spans, corrections))

    async def runs_out(self, name: str) -> int | None:
        """Projected exhaustion of an allocation's window, the earliest of its resources."""
        holding = self.holdings[name]
        now = self.clocks[holding.cluster]
        here = await self.account(holding.cluster, holding.project)
        terms = here.books.terms[name]
        found = []
        for resource, figures in here.books.current(name, now).items():
            rate = await self._rate(holding.cluster, holding.project, here.terms, resource, now)
            found.append(projection.exhaustion(figures.left, rate, now, terms.windows[terms.index(now)].end))
        return min((at for at in found if at is not None), default=None)

    async def _published(self, cluster: str, account: str) -> AccountEntry:
        here = await self.account(cluster, account)
        terms = {item.uid: item for item in here.terms}
        held = self._held(cluster, account)
        return AccountEntry(
            account=account,
            project=account,
            allocations=tuple(item.published(terms[item.uid]) for item in held if not item.deleted),
            ended=tuple(item.ended(terms[item.uid]) for item in held if item.deleted),
            corrections=correction_entries(tuple(here.corrections)),
        )

    def _held(self, cluster: str, account: str) -> list[Holding]:
        return [item for item in self.holdings.values() if (item.cluster, item.project) == (cluster, account)]

    # Events

    def change(self, event: EventForm) -> None:
        """What people do to objects: the operator heeds it when it next looks."""
        if event.top_up is not None:
            self._resize(event.top_up.allocation, event.top_up.hours, 1)
        elif event.shrink is not None:
            self._resize(event.shrink.allocation, event.shrink.hours, -1)
        elif event.open_gate is not None:
            holding = self.holdings[event.open_gate.allocation]
            clock = self.clocks.get(holding.cluster, holding.start)
            holding.gates.setdefault(event.open_gate.gate, max(holding.start, _quarter(clock)))
            holding.revision += 1
        elif event.move_end is not None:
            holding = self.holdings[event.move_end.allocation]
            holding.move_end(event.move_end.end, self.clocks.get(holding.cluster))
        elif event.delete is not None:
            self.holdings[event.delete].deleted = True
            self.holdings[event.delete].revision += 1

    def _resize(self, name: str, hours: Hours, direction: int) -> None:
        holding = self.holdings[name]
        new = []
        for item in holding.spec.resources:
            wanted = hours.get(item.name, item.hours * 3600) // 3600
            if (wanted - item.hours) * direction < 0:
                word = "top-up" if direction > 0 else "shrink"
                raise Impossible(f"a {word} of {name} from {item.hours} to {wanted} {item.name} hours goes the other way")
            new.append(item.model_copy(update={"hours": wanted}))
        holding.spec = holding.spec.model_copy(update={"resources": tuple(new)})
        holding.revision += 1

    async def book(self, event: EventForm) -> None:
        """What people book by hand, from the quarter of the cluster's time on."""
        if event.adjust is not None:
            await self._by_hand(EntryKind.ADJUSTMENT, event.adjust.allocation, event.adjust.hours, event.why)
        elif event.refund is not None:
            refund = event.refund
            await self._by_hand(EntryKind.REFUND, refund.allocation, refund.hours, event.why, refund.job)
        elif event.transfer is not None:
            move = event.transfer
            taken = {name: -amount for name, amount in move.hours.items()}
            await self._by_hand(EntryKind.TRANSFER, move.source, taken, event.why, move.target)
            await self._by_hand(EntryKind.TRANSFER, move.target, move.hours, event.why, move.source)

    async def _by_hand(self, kind: EntryKind, name: str, hours: Hours, why: str, reference: str = "") -> None:
        holding = self.holdings[name]
        self.requests += 1
        amounts = {resource: amount * UNSCALED.units(resource) for resource, amount in hours.items()}
        at = max(holding.start, self.clocks.get(holding.cluster, holding.start))
        key = f"{kind.value.lower()}/{self.requests}"
        await self.books.append([holding.entry(key, kind, at, amounts, why or "by hand", reference)])

    async def all_entries(self) -> list[Entry]:
        """Every entry, in order of accounts."""
        found: list[Entry] = []
        for cluster, account in sorted(self.owners()):
            found += await self.books.entries(cluster, account)
        return found


def _quarter(second: int) -> int:
    return second // QUARTER * QUARTER


def _resources(terms: Sequence[Terms]) -> list[str]:
    return sorted({name for item in terms for name in item.resources})
