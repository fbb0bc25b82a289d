"""The books in memory: what the ledger knows, ready to be asked while a decision is made."""

from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime
from sys import intern
from typing import Any, Final, NamedTuple, Protocol

from bursar_domain.entries import Entry
from bursar_domain.ladder import Action, Rule
from bursar_domain.units import HOUR, Scales
from bursar_domain.wire import AccountEntry
from bursar_ledger.entries import Booked
from bursar_ledger.ledger import Ledger
from bursar_ledger.publication import TOMBSTONE, Publication
from bursar_operator.accounts import Accounts
from bursar_operator.agentmemory import AgentMemory
from bursar_operator.closings import Closings
from bursar_operator.directory import Directory
from bursar_operator.domain import balances, clusters, happenings, hours, periods
from bursar_operator.domain.balances import View
from bursar_operator.domain.batch import Gone
from bursar_operator.domain.entries import waits_for_acknowledgement
from bursar_operator.domain.happenings import Scene, State, in_force
from bursar_operator.dues import Dues
from bursar_operator.informers import BY_CLUSTER, Informers
from bursar_operator.ledgerview import Figures
from bursar_operator.published import Publications, Tombstone

Obj = dict[str, Any]
RECENT_SECONDS: Final = HOUR  # as long as the API server keeps an Event
Key = tuple[str, str]
"""Cluster and account."""


class Listener(Protocol):
    """Who hears what happens to allocations."""

    def hear(self, scene: Scene, state: State, *, recurs: bool, is_read_back: bool) -> None:
        """What is in force of an allocation now; ``recurs``: it has windows; ``is_read_back``: its step is known."""

    def hear_entries(self, allocation: Obj, booked: Iterable[Booked], scales: Scales) -> None:
        """Entries were booked for an allocation."""

    def hear_gates(self, allocation: Obj, at: int) -> None:
        """The allocation as it is now, which may have gates opened."""

    def forget(self, uid: str) -> None:
        """The allocation is gone."""


class Place(NamedTuple):
    """Where an allocation is."""

    namespace: str
    name: str
    cluster: str


class Books(AgentMemory):
    """The `LedgerView` of the grants, and what the other parts ask of the ledger.

    `load` fills it before anything is decided; `Feed` keeps it fresh. `republish` publishes an account's entry and gives the
    generation; `changed` is told which allocation (namespace, name) has to be looked at again.
    """

    def __init__(self, ledger: Ledger, informers: Informers, patience: clusters.Patience, now: Callable[[], datetime]) -> None:
        super().__init__(ledger, patience, now)
        self._informers = informers
        self._directory = Directory(informers)
        self._published = Publications()
        self._tombstones: dict[str, Tombstone] = {}
        self._used_accounts: set[str] = set()
        self._rules: dict[str, tuple[int, frozenset[str]]] = {}
        self._places: dict[str, Place] = {}  # of every allocation that is there
        self.stated: dict[str, balances.Stated] = {}
        """Allocations whose agent stated by hand that nothing of them runs, and the hours used that it had not told before."""
        self.accounts = Accounts(ledger, self._directory, self._published, self.cluster_time)
        self._dues = Dues(informers, self.accounts, self._published)
        self._closings = Closings(informers, self.accounts, self._directory, self._read_use)
        self.accounts.heard = self._entry
        self.changed: Callable[[str, str], None] = _nobody
        self.listener: Listener | None = None
        self.republish: Callable[[str, str], Awaitable[int]] = _nowhere
        informers.allocations.subscribe(self._allocation)
        informers.clusters.subscribe(self._cluster)

    async def load(self) -> None:
        """Read everything once; projects and clusters must be followed already."""
        generations = await self._ledger.desired_generations()
        async for grant in self._ledger.each_grant():
            self._published.put(grant.uid, grant.cluster, grant.account, grant.revision, grant.entry)
            if grant.tombstoned:
                self._tombstones[grant.uid] = Tombstone(grant.cluster, generations.get(grant.cluster, 0))
        await self.refresh_agents()
        await self.accounts.load()
        self._rules = {uid: (window, in_force(kept)) for uid, (window, kept) in (await self._ledger.rules()).items()}
        for cluster in set(generations) | set(self._agents):
            await self.refresh_acknowledgements(cluster)
            await self.refresh_states(cluster)
            for account in await self._ledger.totals(cluster):
                # The allocations are not followed yet: what they are cut at follows with them.
                await self._read_use((cluster, account))

    async def _read_use(self, key: Key) -> None:
        await self.accounts.refresh_use(key, self.cluster_time(key[0]))
        self._used_accounts.add(key[1])

    # What the grants ask

    def revision(self, uid: str) -> tuple[int, Mapping[str, int]] | None:
        """Revision and grant that are published."""
        found = self._published.get(uid)
        return None if found is None else (found.revision, self._published.granted(uid))

    def knows(self, uid: str, revision: int) -> bool:
        """Whether this revision is published."""
        found = self._published.get(uid)
        return found is not None and found.revision == revision

    def used_hours(self, uid: str) -> Mapping[str, int]:
        """Whole hours used in all windows, rounded up, with those that were stated by hand and no agent has reported since."""
        booked, stated = self._booked_hours(uid), self.stated.get(uid)
        return hours.plus(booked, stated.beyond(self.complete_until(stated.cluster))) if stated else booked

    def _booked_hours(self, uid: str) -> Mapping[str, int]:
        key = self._key(uid)
        if key is None or not self.accounts.has_use(key):
            return {}
        books = self.accounts.books(key)
        if uid not in books.terms:
            return {}
        return balances.used_hours(books, uid, self._directory.scales(key[0]))

    def committed_hours(self, uid: str) -> Mapping[str, int]:
        """Whole hours that running jobs of its account may still use: each of several allocations counts them all."""
        committed = self._committed(uid)
        allocation = self._object(uid) if committed and uid not in self.stated else None
        if allocation is None:
            return {}
        scales = self._directory.scales(allocation["spec"]["clusterRef"]["name"])
        return balances.committed_hours(committed, balances.held(allocation).keys(), scales)

    def figures(self, uid: str) -> Figures | None:
        """Balance for the status; None while nothing was used, runs or was booked by hand."""
        key = self._key(uid)
        if key is None or not (self.accounts.has_use(key) or self._committed(uid) or self.accounts.is_adjusted(uid)):
            return None
        view, allocation = self.view(uid), self._object(uid)
        if view is None or allocation is None:
            return None
        rules = periods.thresholds_of(allocation)
        as_of, stale = self.complete_until(key[0]), self._usage_stale(key[0])
        keys = self._in_force(uid, view, rules)
        figures = balances.figures(view, rules, keys, as_of, stale=stale)
        if self.listener is not None and "deletionTimestamp" not in allocation["metadata"]:
            scene = Scene(allocation, view.now, rules, view.standings(), view.scales)
            step, recurs = self._step(uid, key), len(view.terms.windows) > 1
            kept = happenings.keys(keys, exhausted=figures.exhausted, overdrawn=figures.overdrawn, step=step)
            self.listener.hear(scene, State(view.window_start, kept), recurs=recurs, is_read_back=step is not None)
        return figures

    def _step(self, uid: str, key: Key) -> Action | None:
        """What the agent has read back of the scheduler for it; None where it could not, or says what nobody here knows."""
        state = self._states.get(key[0], {}).get(key[1])
        if state is None or state.state not in ("Enforced", "Observed"):
            return None
        said = state.actions.get(uid, Action.NONE) if state.state == "Enforced" else Action.NONE
        return Action(said) if said in set(Action) else None

    def view(self, uid: str) -> View | None:
        """An allocation's books at the cluster's time; None before anything was posted for it."""
        key = self._key(uid)
        if key is None:
            return None
        books = self.accounts.books(key)
        terms = books.terms.get(uid)
        if terms is None:
            return None
        scales = self._directory.scales(key[0])
        return View(terms, books, self.cluster_time(key[0]), self._committed(uid), self.accounts.rates(key), scales)

    def _in_force(self, uid: str, view: View, rules: Sequence[Rule]) -> frozenset[str]:
        before = self._rules.get(uid, (view.window_start, frozenset()))
        keys = balances.in_force(view, rules, before)
        if (view.window_start, keys) != before:
            self._rules[uid] = view.window_start, keys
        return keys

    def acknowledged_as_not_enforced(self, cluster: str) -> bool:
        """Whether nobody writes limits there, so that what is published counts as acknowledged."""
        found = self._informers.clusters.get(None, cluster)
        if found is None or clusters.observes(found):
            return True
        return cluster not in self._agents and not clusters.enrolled(found)

    def uids(self, cluster: str) -> Iterable[str]:
        """Every allocation that anything was ever published of."""
        return self._published.of_cluster(cluster)

    def uses(self, cluster: str, account: str) -> Iterable[tuple[str, str, Mapping[str, int]]]:
        """Of every allocation that an account ever had on a cluster: uid, leaf pool, whole hours used."""
        return [(uid, self.accounts.pool(uid), self.used_hours(uid)) for uid in self._published.of_account((cluster, account))]

    def gone(self, uid: str) -> Gone | None:
        """What was published of it last, and the pool that its last posting names."""
        entry = self._published.entry(uid)
        if entry is None:
            return None
        return Gone(uid, entry.namespace, entry.name, self.accounts.pool(uid), self._published.granted(uid))

    def tombstoned(self, uid: str) -> bool:
        """Whether the tombstone is published and its agent does without the allocation."""
        found = self._tombstones.get(uid)
        if found is None:
            return False
        if not found.cluster or self.acknowledged_as_not_enforced(found.cluster):
            return True
        agent = self._agents.get(found.cluster)
        return found.generation is not None and agent is not None and agent.generation >= found.generation

    async def tombstone(self, uid: str) -> None:
        """Publish that the allocation is gone."""
        before = self._published.get(uid)
        await self._ledger.tombstone(uid)
        if before is None or not before.cluster:
            self._tombstones[uid] = Tombstone("", 0)
            return
        self._published.revised(uid, TOMBSTONE)
        self._tombstones.setdefault(uid, Tombstone(before.cluster, None))
        generation = await self.republish(before.cluster, before.account)
        self._tombstones[uid] = Tombstone(before.cluster, generation)

    # What the other parts ask

    def has_use(self, account: str) -> bool:
        """Whether any cluster ever booked use of the account."""
        return account in self._used_accounts

    # What keeps it fresh

    def published(self, cluster: str, entries: Sequence[AccountEntry], publication: Publication, fresh: Container[str]) -> None:
        """Take in what a publication has stored; only allocations that are ``fresh`` may differ from what was before."""
        for entry in entries:
            for item in entry.allocations:
                before = self._published.get(item.uid)
                is_known = before is not None and before.revision == item.grant_revision
                # Though nothing was changed: what was may have been stored by a try whose answer was lost.
                if is_known and item.uid not in fresh:
                    continue
                if publication.revisions.get(item.uid) == item.grant_revision:
                    self._published.put(item.uid, cluster, entry.account, item.grant_revision, item.canonical())
                # Where nobody enforces, publication is all the acknowledgement there will be.
                is_news = not is_known and self.acknowledged_as_not_enforced(cluster)
                if is_news and waits_for_acknowledgement(self._object(item.uid)):
                    self.touch(item.uid)

    def counted(self, cluster: str, scales: Scales) -> None:
        """It is published how the cluster's hours are counted."""
        self._directory.publish(cluster, scales)

    def edited(self, uid: str, revision: int) -> None:
        """The ledger has this revision with other hours: whoever repairs it must go above it."""
        before = self._published.get(uid)
        if before is not None and before.revision < revision:
            self._published.revised(uid, revision)

    async def refresh_use(self, cluster: str, account: str) -> None:
        """Read an account's use again."""
        await self._read_use((cluster, account))

    async def refresh_entries(self, cluster: str, account: str) -> bool:
        """Read what was booked for an account since; whether there was anything."""
        return await self.accounts.refresh_entries((cluster, account))

    def tell_again(self) -> None:
        """Whatever was booked shortly before this process began may not have been told."""
        for booked in self.accounts.recent(int(self._now().timestamp()) - RECENT_SECONDS):
            self._entry(booked)

    def _entry(self, booked: Booked) -> None:
        allocation = self._object(booked.entry.uid) if booked.entry.uid else None
        if allocation is not None and self.listener is not None:
            self.listener.hear_entries(allocation, [booked], self._directory.scales(booked.entry.cluster))

    def unsettled(self) -> AsyncIterator[Key]:
        """Accounts with use whose allocations have cuts that the sums do not know yet."""
        return self.accounts.unsettled()

    async def post(self, cluster: str, accounts: Iterable[str]) -> bool:
        """Book the grants that these accounts' allocations need before they are published: one write for all. Whether there
        were any; where there were none nobody else had a turn."""
        now = self.known_time(cluster)
        found = [entry for account in accounts for entry in self._planned((cluster, account), now)]
        await self.accounts.book(found, int(self._now().timestamp()))
        return bool(found)

    def _planned(self, key: Key, now: int | None) -> Iterable[Entry]:
        if now is None and self.accounts.has_use(key):
            now = self.cluster_time(key[0])  # what was used before must find what there was
        scales = self._directory.scales(key[0])
        for place in self._directory.keys(key[1]):
            yield from self._dues.planned(place, key, now, scales)
        for uid in self._published.of_account(key) if self._tombstones else ():
            gone = self._published.entry(uid) if uid not in self._places and uid in self._tombstones else None
            if gone is not None:
                yield from self.accounts.planned_for_gone(gone, key, now)

    async def close_windows(self, cluster: str) -> list[Key]:
        """Book what becomes of windows whose last slot is closed; the accounts for which there was any."""
        agent = self._agents.get(cluster)
        if agent is None or agent.watermark is None:
            return []
        return await self._closings.book(cluster, agent.watermark, int(self._now().timestamp()))

    def touch(self, uid: str) -> None:
        """Have the allocation looked at again."""
        found = self._places.get(uid) or self._published.entry(uid)
        if found is not None:
            self.changed(found.namespace, found.name)

    def touch_account(self, cluster: str, account: str) -> None:
        """Have every allocation of the account looked at again."""
        for item in self._directory.allocations(cluster, account):
            self.changed(item["metadata"]["namespace"], item["metadata"]["name"])

    def touch_cluster(self, cluster: str) -> None:
        """Have every allocation of the cluster looked at again."""
        for namespace, name in self._informers.allocations.keys_by_index(BY_CLUSTER, cluster):
            self.changed(namespace, name)

    def _allocation(self, _: str, old: Obj | None, new: Obj | None) -> None:
        now = new or old
        if now is None:
            return
        uid = now["metadata"]["uid"]
        if new is None:
            self._places.pop(uid, None)
            self._rules.pop(uid, None)
            self.accounts.drop(uid)
            self._closings.forget(now["metadata"]["namespace"], now["metadata"]["name"])
            if self.listener is not None:
                self.listener.forget(uid)
        else:
            self._places[intern(uid)] = _place(new)
            if self.listener is not None:
                self.listener.hear_gates(new, self.cluster_time(new["spec"]["clusterRef"]["name"]))
        key = self._directory.key_of(now)
        if key is not None and (old is None or new is None or _terms_part(old) != _terms_part(new)):
            self.accounts.forget(key)

    def _cluster(self, _: str, old: Obj | None, new: Obj | None) -> None:
        """Where nobody enforced until now, or nobody does any more, acknowledgements mean something else."""
        cluster = new or old
        if cluster is not None and (old is None or new is None or _enforced_by(old) != _enforced_by(new)):
            self.touch_cluster(cluster["metadata"]["name"])

    def _object(self, uid: str) -> Obj | None:
        place = self._places.get(uid)
        found = None if place is None else self._informers.allocations.get(place.namespace, place.name)
        return found if found is not None and found["metadata"]["uid"] == uid else None

    def _key(self, uid: str) -> Key | None:
        place, gone = self._places.get(uid), self._published.get(uid)
        if place is not None:
            return self._directory.key_in(place.namespace, place.cluster)
        return (gone.cluster, gone.account) if gone else None

    def _committed(self, uid: str) -> Mapping[str, int]:
        key = self._key(uid)
        state = self._states.get(key[0], {}).get(key[1]) if key else None
        return state.committed if state else {}


def _place(allocation: Obj) -> Place:
    metadata = allocation["metadata"]
    return Place(intern(metadata["namespace"]), metadata["name"], intern(allocation["spec"]["clusterRef"]["name"]))


def _enforced_by(cluster: Obj) -> tuple[bool, bool]:
    return clusters.observes(cluster), clusters.enrolled(cluster)


def _terms_part(allocation: Obj) -> object:
    """What its terms are made of, beside entries."""
    granted = [item["name"] for item in (allocation.get("status") or {}).get("granted") or ()]
    return allocation["metadata"].get("generation"), "deletionTimestamp" in allocation["metadata"], granted


def _nobody(_: str, __: str) -> None:
    return None


async def _nowhere(_: str, __: str) -> int:
    return 0
