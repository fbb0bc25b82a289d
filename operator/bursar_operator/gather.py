"""Gather: everything that the decision about one allocation looks at, from memory."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bursar_crds.common import Period
from bursar_crds.reasons import Reason
from bursar_domain.room import Problem, choose_path
from bursar_operator.copies import Copies, Key
from bursar_operator.directory import Directory
from bursar_operator.domain import grant, hours
from bursar_operator.domain.grant import Facts, Kind, Operation
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.poolstatus import Listed
from bursar_operator.domain.rows import Obj, Row
from bursar_operator.holdings import Holdings
from bursar_operator.informers import Informers
from bursar_operator.ledgerview import LedgerView
from bursar_operator.poolcopies import View
from bursar_operator.pools import Pools

OBSERVE: Final = "Observe"


@dataclass(frozen=True, slots=True)
class Gathered:
    """One allocation with its surroundings."""

    row: Row
    facts: Facts
    view: View
    problem: Problem | None
    """What keeps it from being raised, other than room."""
    account: str | None
    observed: bool
    is_over: bool
    now: datetime


class Gather:
    """Answers from memory; also what the pool writer asks about allocations."""

    def __init__(
        self, copies: Copies, ledger: LedgerView, informers: Informers, clock: Callable[[], float], look: Callable[[Key], None]
    ) -> None:
        self.pools: Pools
        self.hindered: set[Key] = set()
        """Allocations that something other than room keeps from their hours."""
        self._copies = copies
        self._ledger = ledger
        self._informers = informers
        self._directory = Directory(informers)
        self._clock = clock
        self._look = look
        self._listing: asyncio.Task[Listed] | None = None
        self._holdings = Holdings(copies.rows_in, copies.row, ledger, self._directory)
        copies.touched = self._holdings.touched

    def of(self, row: Row) -> Gathered:
        """Everything about one allocation."""
        owner = self._directory.of_namespace(row.namespace)
        cluster = self._informers.clusters.get(None, row.cluster)
        problem = self._hindrance(row, owner.project if owner else None, cluster)
        path: tuple[str, ...] = ()
        if problem is None and owner is not None:
            chosen = choose_path(self.pools.pools, row.leaf, row.cluster, owner.project, _period(row))
            problem, path = (chosen, ()) if isinstance(chosen, Problem) else (None, tuple(pool.name for pool in chosen))
        if self._holds(row) and row.leaf is not None:
            path = self.pools.path(row.leaf)
        now = datetime.fromtimestamp(self._clock(), UTC)
        is_over = grant.over(row, now, self._ledger.complete_until(row.cluster))
        view = self.pools.view(row.uid, path)
        return Gathered(
            row=row,
            facts=self._facts(row, path, view, is_over=is_over),
            view=view,
            problem=problem,
            account=owner.account if owner else None,
            observed=cluster is not None and cluster["spec"].get("enforcement") == OBSERVE,
            is_over=is_over,
            now=now,
        )

    def _facts(self, row: Row, path: tuple[str, ...], view: View, *, is_over: bool) -> Facts:
        used, committed = self._ledger.used_hours(row.uid), self._ledger.committed_hours(row.uid)
        return Facts(
            row=row,
            want=grant.want(row, used, committed, is_over=is_over),
            path=path,
            intents=view.intents,
            known=view.known and view.counted,
            stuck=view.stuck,
            ack=self._ledger.ack(row.uid) or 0,
            not_enforced=self._ledger.acknowledged_as_not_enforced(row.cluster),
            ledger=self._ledger.revision(row.uid),
            used=used,
            committed=committed,
        )

    def _holds(self, row: Row) -> bool:
        return not hours.is_zero(row.state.charged) or (row.pool_ref is not None and self.pools.holds(row.uid))

    def _hindrance(self, row: Row, project: str | None, cluster: Obj | None) -> Problem | None:
        if project is None:
            return Problem(
                Reason.PROJECT_NOT_FOUND,
                f"namespace {row.namespace} belongs to no project that is ready; wait for it, or create it.",
            )
        if cluster is None:
            return Problem(
                Reason.CLUSTER_NOT_FOUND, f"there is no cluster {row.cluster}; correct spec.clusterRef in a new allocation."
            )
        if not _admits(cluster, project):
            return Problem(
                Reason.ACCESS_DENIED,
                f"cluster {row.cluster} does not let project {project} in; ask its administrators for access.",
            )
        return None

    # what the pool writer asks

    def row(self, uid: str) -> Row | None:
        """The newest copy; None where there is no such allocation."""
        return self._copies.row(uid)

    def leaf(self, row: Row) -> str | None:
        """The pool that it draws on."""
        if row.leaf is not None:
            return row.leaf
        path = self.of(row).facts.path
        return path[-1] if path else None

    def operations(self, uid: str) -> tuple[Operation, ...]:
        """What it wants to open now."""
        row = self.row(uid)
        return () if row is None else wanted(self.of(row))

    def held(self, namespace: str, cluster: str, pools: Collection[str]) -> Hours:
        """What the project of a namespace holds of these leaf pools: charges, and what those that are gone have used."""
        return self._holdings.of(namespace, cluster, pools)

    def _is_settled(self, row: Row) -> bool:
        """Whether what an allocation grants is acknowledged as it stands, and backed."""
        facts = Facts(
            row=row,
            want=row.asked,
            ack=self._ledger.ack(row.uid) or 0,
            not_enforced=self._ledger.acknowledged_as_not_enforced(row.cluster),
            ledger=self._ledger.revision(row.uid),
        )
        published = facts.ledger[0] if facts.ledger else 0
        backed = hours.at_least(row.state.charged, row.state.granted)
        return row.state.revision >= published and facts.acknowledged(row.state) and backed

    def look(self, key: Key) -> None:
        """Have the allocation looked at."""
        self._look(key)

    def help_hindered(self) -> None:
        """Something changed that may help them."""
        for key in self.hindered:
            self._look(key)

    async def quorum(self) -> Listed:
        """Every allocation, read after this call began; calls that wait for the same turn share one list.

        What was published once, is not in the list and has no tombstone that is acknowledged leaves its cluster unsettled.
        """
        running = self._listing
        if running is not None and not running.done():
            await asyncio.wait({running})
        if self._listing is running or self._listing is None:
            self._listing = asyncio.create_task(self._list(), name="quorum list of allocations")
        return await asyncio.shield(self._listing)

    async def _list(self) -> Listed:
        before = set(self._copies.uids())
        listed = await self._copies.quorum(self._is_settled)
        # What the copies have and the list lacks may still be published: nobody was told yet that it is gone.
        listed.unsettled.update(row.cluster for uid in before - listed.uids if (row := self.row(uid)) is not None)
        for cluster in {obj["metadata"]["name"] for obj in self._informers.clusters.items()} - listed.unsettled:
            gone = (uid for uid in self._ledger.uids(cluster) if uid not in listed.uids)
            if not all(self._ledger.tombstoned(uid) for uid in gone):
                listed.unsettled.add(cluster)
        return listed


def wanted(gathered: Gathered) -> tuple[Operation, ...]:
    """Operations that may be opened: none without a path, no raise while something other than room hinders it."""
    facts = gathered.facts
    if not facts.path or not gathered.view.counted:
        return ()
    found = grant.operations(facts, facts.row.state)
    return tuple(item for item in found if gathered.problem is None or item.kind is not Kind.RAISE)


def _period(row: Row) -> Period:
    return Period.model_construct(start=row.start, end=row.end)


def _admits(cluster: Obj, project: str) -> bool:
    access = cluster["spec"].get("access") or {}
    named = project in (access.get("projects") or ())
    mode = access.get("mode", "Open")
    return mode == "Open" or (named if mode == "AllowList" else not named)
