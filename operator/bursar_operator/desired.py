"""Publication: entries of accounts that changed, gathered for a moment, built, signed and stored per cluster."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import structlog

from bursar_domain.keys import Signer
from bursar_domain.units import DAY
from bursar_domain.wire import AccountEntry, ClusterSettings
from bursar_kube.errors import NotLeading
from bursar_ledger.errors import EditedGrant, StaleEpoch
from bursar_ledger.ledger import Ledger
from bursar_ledger.publication import Publication
from bursar_operator.books import Books
from bursar_operator.building import Builder
from bursar_operator.directory import Directory, Owner
from bursar_operator.domain import clusters, entries
from bursar_operator.domain.memberships import computing
from bursar_operator.informers import BY_NAMESPACE, Informers
from bursar_operator.metrics import Metrics

Obj = dict[str, Any]
Key = tuple[str, str]
"""Cluster and account, or namespace and name."""
DEBOUNCE_SECONDS: Final = 0.02
# A round that took long makes the next one wait for as many times as long: storms are published in larger pieces.
REST: Final = 3
LONGEST_REST_SECONDS: Final = 1.0
# As does one over accounts with many allocations, whatever else the machine does: each of them is a part of what is signed.
REST_FOR_EACH_SECONDS: Final = 0.0005
LONGEST_REST_FOR_MANY_SECONDS: Final = 4.0
PER_PUBLICATION: Final = 500
# How often what changed while others were posted or built is posted and built, too, before it is left to the next round.
SETTLING: Final = 5
ALLOCATIONS_PER_PUBLICATION: Final = 1_000  # what is built and signed in one go keeps everybody else waiting
PIECE_PAUSE_SECONDS: Final = 0.05  # others need more than one turn of the loop: to renew the Lease takes several
RETRY_SECONDS: Final = 1.0
RENEW_SECONDS: Final = 3600.0
LOG = structlog.get_logger("bursar.operator")


class DesiredState:
    """The one writer of desired state. `touch…` says what may have changed; `run` publishes until the term is over.

    `announced` hears of each new generation of a cluster, `joined` of each account that got its first entry on one.
    """

    def __init__(
        self,
        ledger: Ledger,
        informers: Informers,
        books: Books,
        signer: Signer,
        metrics: Metrics,
        *,
        epoch: int,
        valid_days: int,
        now: Callable[[], datetime],
        announced: Callable[[str], None],
        joined: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._informers = informers
        self._directory = Directory(informers)
        self._books = books
        self._signer = signer
        self._metrics = metrics
        self._epoch = epoch
        self._valid_seconds = valid_days * DAY
        self._now = now
        self._announced = announced
        self._joined = joined
        self._dirty: dict[str, dict[str, float]] = {}
        self._unhurried: dict[Key, None] = {}  # to be compared with what is published, one in each round
        self._following = False
        self._known: dict[str, dict[str, str]] = {}  # cluster -> account -> project, of every entry there is
        self._generations: dict[str, int] = {}
        self._billing: dict[str, int] = {}
        self._builder = Builder(informers, books.accounts)
        self._waiters: list[tuple[frozenset[str], asyncio.Future[None]]] = []
        self._wake = asyncio.Event()

    def generation(self, cluster: str) -> int | None:
        """Newest generation, None before the first."""
        return self._generations.get(cluster)

    def billing_version(self, cluster: str) -> int | None:
        """Version of the billing weights that are published, None where there are none."""
        return self._billing.get(cluster)

    def clusters_of(self, account: str) -> list[str]:
        """Clusters that have an entry of the account, in order."""
        return sorted(cluster for cluster, known in self._known.items() if account in known)

    async def load(self) -> None:
        """Read which entries there are."""
        self._generations = await self._ledger.desired_generations()
        for cluster in self._generations:
            self._known[cluster] = await self._ledger.desired_accounts(cluster)
            if settings := await self._ledger.published_settings(cluster):
                self._counted(settings)

    def follow(self) -> None:
        """Hear of every change. What is there already is compared with what is published, by and by."""
        self._following = True
        self._informers.clusters.subscribe(self._on_cluster)
        self._informers.projects.subscribe(self._on_project)
        self._informers.memberships.subscribe(self._on_membership)
        self._informers.allocations.subscribe(self._on_allocation)
        for cluster, known in self._known.items():
            for account in known:
                self.touch(cluster, account)
        self._following = False

    def touch(self, cluster: str, account: str) -> None:
        """The account's entry may have changed."""
        if self._following:
            self._compare((cluster, account))
            return
        self._unhurried.pop((cluster, account), None)
        self._dirty.setdefault(cluster, {}).setdefault(account, time.monotonic())
        self._wake.set()

    def _compare(self, key: Key) -> None:
        """Nothing says that the account's entry changed, but for a process that was away."""
        if key[1] not in self._dirty.get(key[0], ()):
            self._unhurried[key] = None
            self._wake.set()

    def touch_cluster(self, cluster: str) -> None:
        """The cluster's settings, its acknowledgement or its root's validity may have changed."""
        self._dirty.setdefault(cluster, {})
        self._wake.set()

    def touch_account(self, account: str) -> None:
        """Something that concerns the account on every cluster changed."""
        for cluster in self.clusters_of(account):
            self.touch(cluster, account)

    async def publish_now(self, cluster: str, account: str) -> int:
        """Publish the account's entry and return the generation from which it holds."""
        self.touch(cluster, account)
        await self.flush(cluster)
        return self._generations.get(cluster, 0)

    async def flush(self, *concerned: str) -> None:
        """Wait until everything touched so far on these clusters is published; one that fails keeps only its own waiting."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((frozenset(concerned), waiter))
        self._wake.set()
        await waiter

    async def run(self) -> None:
        """Publish for ever. Raises StaleEpoch when a newer leader has published."""
        await self._informers.allocations.synced()  # an entry built before every allocation is known would take limits away
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew(), name="renew roots")
            group.create_task(self._rounds(), name="publish")

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            for cluster in list(self._known):
                self.touch_cluster(cluster)

    async def _rounds(self) -> None:
        rest = 0.0
        while True:
            await self._wake.wait()
            await asyncio.sleep(max(DEBOUNCE_SECONDS, rest))
            self._wake.clear()
            began = time.monotonic()
            batch = self._batch()
            rest_for_many = self._rest_for(batch)
            waiters, self._waiters = self._waiters, []
            failed = {cluster for cluster, accounts in batch.items() if not await self._try(cluster, accounts)}
            rest = max(min(LONGEST_REST_SECONDS, REST * (time.monotonic() - began)), rest_for_many)
            for concerned, waiter in waiters:
                if concerned & failed:
                    self._waiters.append((concerned, waiter))
                elif not waiter.done():
                    waiter.set_result(None)
            if failed:
                await asyncio.sleep(RETRY_SECONDS)
            if failed or self._unhurried:
                self._wake.set()

    def _rest_for(self, batch: Mapping[str, Iterable[str]]) -> float:
        count = sum(self._directory.count(account) for accounts in batch.values() for account in accounts)
        return min(LONGEST_REST_FOR_MANY_SECONDS, REST_FOR_EACH_SECONDS * count)

    def _batch(self) -> dict[str, dict[str, float]]:
        """What is dirty, and one of what is to be compared: that would wait for ever where something changes all the time."""
        batch, self._dirty = self._dirty, {}
        key = next(iter(self._unhurried), None)
        if key is not None:
            del self._unhurried[key]
            batch.setdefault(key[0], {}).setdefault(key[1], time.monotonic())
        return batch

    async def _try(self, cluster: str, accounts: dict[str, float]) -> bool:
        try:
            await self._publish_all(cluster, accounts)
        except StaleEpoch:
            raise
        except Exception as error:
            self._metrics.failures.labels("desired").inc()
            is_odd = not isinstance(error, NotLeading)  # a leader that is late with its renewal is expected to be refused
            LOG.error("desired state could not be published; trying again", cluster=cluster, error=str(error), exc_info=is_odd)
            self._dirty[cluster] = accounts | self._dirty.get(cluster, {})
            return False
        return True

    async def _publish_all(self, name: str, accounts: dict[str, float]) -> None:
        cluster = self._informers.clusters.get(None, name)
        if cluster is None:
            return  # the agent keeps what it has; the Cluster's return is an event
        since = min(accounts.values(), default=None)
        if not accounts and name not in self._known:
            self._known[name] = {}
        for piece in self._pieces(sorted(accounts)):
            await self._publish(cluster, await self._build(name, piece))
            for account in piece:
                del accounts[account]  # what is left when one fails is tried again
            await asyncio.sleep(PIECE_PAUSE_SECONDS)
        if since is not None:
            self._metrics.publish_seconds.observe(time.monotonic() - since)

    async def _build(self, name: str, accounts: list[str]) -> dict[str, AccountEntry]:
        """The accounts' entries, all of one moment, at which nothing of them had still to be posted: an allocation must not
        be signed with a revision whose hours are not in its terms."""
        for _ in range(SETTLING):
            is_booked = await self._books.post(name, accounts)
            places = (place for account in accounts for place in self._directory.keys(account))
            if not await self._builder.prepare(places) and not is_booked:
                break
        built = {account: entry for account in accounts if (entry := self._entry(name, account)) is not None}
        self._builder.settle()
        return built

    def _pieces(self, accounts: list[str]) -> Iterable[list[str]]:
        piece: list[str] = []
        size = 0
        for account in accounts:
            more = self._directory.count(account)
            if piece and (size + more > ALLOCATIONS_PER_PUBLICATION or len(piece) == PER_PUBLICATION):
                yield piece
                piece, size = [], 0
            piece.append(account)
            size += more
        yield piece

    async def _publish(self, cluster: Obj, built: dict[str, AccountEntry]) -> None:
        name = cluster["metadata"]["name"]
        while True:
            chosen = list(built.values())
            try:
                publication = await self._store(cluster, chosen)
                break
            except EditedGrant as error:
                edited = next(entry for entry in chosen if any(item.uid == error.uid for item in entry.allocations))
                del built[edited.account]
                LOG.warning("a grant was edited by hand; it is repaired", cluster=name, account=edited.account, uid=error.uid)
                self._books.edited(error.uid, error.revision)
                self._books.touch(error.uid)
        self._taken_in(name, chosen, publication)

    async def _store(self, cluster: Obj, chosen: list[AccountEntry]) -> Publication:
        settings = entries.settings(cluster)
        publication = await self._ledger.publish(
            settings,
            chosen,
            epoch=self._epoch,
            acknowledged=clusters.acknowledged(cluster, self._generations.get(cluster["metadata"]["name"], 0)),
            now=int(self._now().timestamp()),
            valid_seconds=self._valid_seconds,
            sign=self._signer.sign,
        )
        self._counted(settings)
        return publication

    def _counted(self, settings: ClusterSettings) -> None:
        self._books.counted(settings.cluster, settings.scales)
        if settings.billing is not None:
            self._billing[settings.cluster] = settings.billing.version

    def _taken_in(self, cluster: str, chosen: list[AccountEntry], publication: Publication) -> None:
        self._books.published(cluster, chosen, publication, self._builder.fresh)
        self._builder.fresh.difference_update(item.uid for entry in chosen for item in entry.allocations)
        known = self._known.setdefault(cluster, {})
        new = [entry.account for entry in chosen if entry.account not in known]
        known.update((entry.account, entry.project) for entry in chosen)
        for account in new:
            self._joined(account)
        self._metrics.published.labels(cluster).inc(publication.changed)
        self._metrics.generation.labels(cluster).set(publication.generation)
        if self._generations.get(cluster) != publication.generation:
            self._generations[cluster] = publication.generation
            self._announced(cluster)

    def _entry(self, cluster: str, account: str) -> AccountEntry | None:
        """None where nothing was ever granted: no agent has to hear of the account."""
        known = self._known.get(cluster, {}).get(account)
        owner = self._directory.of_account(account)
        if owner is None:
            return entries.closed_entry(account, known) if known else None
        found = [
            built for place in self._directory.keys(account) if (built := self._builder.of(place)) and built.cluster == cluster
        ]
        granted = [built.entry for built in found if built.entry is not None]
        edited = [built.uid for built in found if built.is_edited]
        if owner.deleting and not found:
            return entries.closed_entry(account, known) if known else None
        if known is None and not granted and not edited:
            return None
        if edited:
            # Nothing that no pool backs is ever signed; what was published holds until the grants are repaired.
            for uid in edited:
                LOG.warning("more is granted than charged; not published", cluster=cluster, uid=uid)
                self._books.touch(uid)
            return None
        corrections = self._books.accounts.corrections((cluster, account))
        ended = self._books.accounts.ended((cluster, account), {built.uid for built in found})
        return entries.account_entry(account, owner.project, self._members(owner), granted, ended, corrections)

    def _members(self, owner: Owner) -> tuple[str, ...]:
        return computing(self._informers.memberships.by_index(BY_NAMESPACE, owner.namespace), self._now())

    def _on_cluster(self, _: str, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            return
        name = new["metadata"]["name"]
        if old is None or old["spec"] != new["spec"] or clusters.released(old) != clusters.released(new):
            self.touch_cluster(name)
        if old is None:
            for account in self._known.get(name, {}):
                self.touch(name, account)

    def _on_project(self, _: str, old: Obj | None, new: Obj | None) -> None:
        for owner in {Owner.of(item) for item in (old, new) if item} - {None}:
            if owner is not None and (new is None or old is None or Owner.of(old) != Owner.of(new)):
                self.touch_account(owner.account)
                for item in self._informers.allocations.each_by_index(BY_NAMESPACE, owner.namespace):
                    self.touch(item["spec"]["clusterRef"]["name"], owner.account)

    def _on_membership(self, _: str, old: Obj | None, new: Obj | None) -> None:
        item = new or old
        if item is not None and (old is None or new is None or _weight(old) != _weight(new)):
            owner = self._directory.of_namespace(item["metadata"]["namespace"])
            if owner is not None:
                self.touch_account(owner.account)

    def _on_allocation(self, _: str, old: Obj | None, new: Obj | None) -> None:
        if old is not None and new is not None and _published_part(old) == _published_part(new):
            return
        if new is None and old is not None:
            self._builder.drop(old["metadata"]["namespace"], old["metadata"]["name"])
        item = new or old
        key = self._directory.key_of(item) if item is not None and (entries.is_granted(item) or new is None) else None
        if key is None:
            return
        if old is None and new is not None and self._books.knows(new["metadata"]["uid"], new["status"]["grantRevision"]):
            self._compare(key)
        else:
            self.touch(*key)


def _weight(membership: Obj) -> tuple[Any, bool]:
    return membership["spec"], "deletionTimestamp" in membership["metadata"]


def _published_part(allocation: Obj) -> Iterable[Any]:
    status, spec = allocation.get("status") or {}, allocation["spec"]
    parts = ("period", "thresholds", "tranches", "openedGates", "recurrence", "carryOver", "grace", "debt")
    deleting = "deletionTimestamp" in allocation["metadata"]
    return status.get("grantRevision"), status.get("granted"), deleting, *(spec.get(name) for name in parts)
