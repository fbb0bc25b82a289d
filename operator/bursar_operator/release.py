"""Deletions that hang: told once they are overdue; and statements made by hand, taken as the acknowledgement they stand for."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import structlog

from bursar_crds.instants import parse_instant
from bursar_crds.names import RELEASE_STATEMENT
from bursar_crds.reasons import Reason
from bursar_domain import release
from bursar_domain.release import Refusal, SignedStatement, Subject
from bursar_kube.client import Kube
from bursar_kube.errors import AlreadyExists, Forbidden, KubeError, NotFound
from bursar_kube.queue import WorkQueue
from bursar_kube.resources import ALLOCATIONS, EVENTS
from bursar_ledger.ledger import Ledger
from bursar_operator.books import Books
from bursar_operator.directory import Directory
from bursar_operator.domain import hours, overdue
from bursar_operator.domain.balances import Stated
from bursar_operator.domain.clusters import Patience
from bursar_operator.domain.overdue import Hanging, Verdict
from bursar_operator.enrolment import trusted_keys
from bursar_operator.informers import Informers
from bursar_operator.metrics import Metrics

Obj = dict[str, Any]
Key = tuple[str, str]
KINDS: Final = ("Allocation", "Cluster", "Membership", "Project", "QuotaPool")
SWEEP_SECONDS: Final = 5.0
WORKERS: Final = 2
LOG = structlog.get_logger("bursar.release")


class Releases:
    """Follows what is being deleted. `touch` has an allocation looked at again by the grants."""

    def __init__(
        self,
        kube: Kube,
        ledger: Ledger,
        informers: Informers,
        books: Books,
        metrics: Metrics,
        patience: Patience,
        *,
        deadline_seconds: int,
        statement_seconds: int,
        now: Callable[[], datetime],
        touch: Callable[[str, str], None],
    ) -> None:
        self._kube = kube
        self._ledger = ledger
        self._informers = informers
        self._books = books
        self._directory = Directory(informers)
        self._metrics = metrics
        self._patience = patience
        self._deadline_seconds = deadline_seconds
        self._statement_seconds = statement_seconds
        self._now = now
        self._touch = touch
        self._queue: WorkQueue[Key] = WorkQueue("statements")
        self._deleting: dict[str, tuple[str, Obj]] = {}
        self._overdue: set[str] = set()
        self._judged: dict[str, tuple[str, bool]] = {}
        self._refused: dict[str, str] = {}
        self._taken: dict[str, SignedStatement] = {}
        followed = (
            ("Allocation", informers.allocations),
            ("Cluster", informers.clusters),
            ("Membership", informers.memberships),
            ("Project", informers.projects),
            ("QuotaPool", informers.pools),
        )
        for kind, informer in followed:
            informer.subscribe(partial(self._changed, kind))

    async def load(self) -> None:
        """Read what was stated before: what it says of use holds until an agent has reported up to there."""
        for signed in await self._ledger.release_statements():
            self._take_in(signed)

    async def run(self) -> None:
        """Judge statements, and tell what becomes overdue."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(WORKERS, self._judge), name="judge statements")
            group.create_task(self._sweeps(), name="overdue deletions")

    def verdict(self, obj: Obj) -> Verdict | None:
        """Condition Ready of an allocation whose deletion is overdue, or whose statement was refused; None for any other."""
        refused = self._refused.get(obj["metadata"]["uid"])
        if refused is not None and RELEASE_STATEMENT in (obj["metadata"].get("annotations") or {}):
            return False, Reason.STATEMENT_REFUSED, refused
        if not overdue.is_overdue(obj, self._now(), self._deadline_seconds):
            return None
        return overdue.of_allocation(self._hanging(obj))

    # Overdue

    def _changed(self, kind: str, _: str, old: Obj | None, new: Obj | None) -> None:
        obj = new or old
        if obj is None:
            return
        uid = obj["metadata"]["uid"]
        if new is None or "deletionTimestamp" not in new["metadata"]:
            self._forget(uid, kind, for_good=new is None)
        else:
            self._deleting[uid] = kind, new
        if new is not None and kind == "Allocation" and self._is_news(new):
            self._queue.add((new["metadata"]["namespace"], new["metadata"]["name"]))

    def _forget(self, uid: str, kind: str, *, for_good: bool) -> None:
        self._deleting.pop(uid, None)
        if uid in self._overdue:
            self._overdue.discard(uid)
            self._count(kind)
        if for_good:
            self._judged.pop(uid, None)
            self._refused.pop(uid, None)

    async def _sweeps(self) -> None:
        for kind in KINDS:
            self._count(kind)
        while True:
            await self.sweep()
            await asyncio.sleep(SWEEP_SECONDS)

    async def sweep(self) -> None:
        """Tell of every deletion that has become overdue."""
        now = self._now()
        for uid, (kind, obj) in list(self._deleting.items()):
            if uid not in self._overdue and overdue.is_overdue(obj, now, self._deadline_seconds):
                self._overdue.add(uid)
                self._count(kind)
                await self._tell_overdue(kind, obj)

    async def _tell_overdue(self, kind: str, obj: Obj) -> None:
        metadata = obj["metadata"]
        _, note = overdue.plain(obj, "it is not gone", self._now(), self._deadline_seconds)
        if kind == "Allocation":
            note = overdue.of_allocation(self._hanging(obj))[2]
            self._touch(metadata["namespace"], metadata["name"])
        LOG.warning("a deletion is overdue", kind=kind, namespace=metadata.get("namespace"), name=metadata["name"], note=note)
        await self._tell(overdue.event(obj, kind, Reason.RELEASE_OVERDUE, note, self._now(), once="overdue"))

    def _count(self, kind: str) -> None:
        count = sum(self._deleting[uid][0] == kind for uid in self._overdue if uid in self._deleting)
        self._metrics.overdue.labels(kind).set(count)

    def _hanging(self, obj: Obj) -> Hanging:
        uid, cluster = obj["metadata"]["uid"], obj["spec"]["clusterRef"]["name"]
        agent, revision = self._books.agent(cluster), (obj.get("status") or {}).get("grantRevision") or 0
        seen = datetime.fromtimestamp(agent.last_seen, UTC) if agent else None
        is_silent = seen is not None and (self._now() - seen).total_seconds() > self._patience.agent_seconds
        return Hanging(
            obj=obj,
            project=self._project(obj),
            account=self._account(obj),
            revision=revision,
            acknowledged=self._books.acknowledged_as_not_enforced(cluster) or self._books.ack(uid) == revision,
            committed=hours.positive(self._books.committed_hours(uid)),
            known_until=self._known_until(obj),
            agent_seen=seen if is_silent else None,
            agent_never=agent is None,
            braked=agent is not None and agent.brake is not None,
        )

    def _project(self, obj: Obj) -> str:
        owner = self._directory.of_namespace(obj["metadata"]["namespace"])
        return owner.project if owner else "PROJECT"

    def _account(self, obj: Obj) -> str:
        owner = self._directory.of_namespace(obj["metadata"]["namespace"])
        return owner.account if owner else str((obj.get("status") or {}).get("account") or "")

    def _known_until(self, obj: Obj) -> int:
        """No use is put down to it before its start, and the books know all up to the watermark."""
        start = int(parse_instant(obj["spec"]["period"]["start"]).timestamp())
        watermark = self._books.complete_until(obj["spec"]["clusterRef"]["name"])
        return start if watermark is None else max(start, int(watermark.timestamp()))

    # Statements

    def _is_news(self, obj: Obj) -> bool:
        """Whether it carries a statement that was not judged yet, as it is now."""
        text = (obj["metadata"].get("annotations") or {}).get(RELEASE_STATEMENT)
        return text is not None and self._judged.get(obj["metadata"]["uid"]) != (text, "deletionTimestamp" in obj["metadata"])

    async def _judge(self, key: Key) -> float | None:
        try:
            obj = await self._kube.get(ALLOCATIONS, key[1], key[0])
        except NotFound:
            return None
        if not self._is_news(obj) or overdue.still_grants(obj):
            return None  # what still grants is looked at once its grant was taken back
        if self._books.revision(obj["metadata"]["uid"]) is None and "deletionTimestamp" in obj["metadata"]:
            return overdue.patience(obj, self._now())  # nobody was told of it yet, so there is nothing to acknowledge
        uid, text = obj["metadata"]["uid"], obj["metadata"]["annotations"][RELEASE_STATEMENT]
        found = self._refusal(obj, text)
        if found is None:
            await self._take(obj, SignedStatement.parse(text))
        self._judged[uid] = text, "deletionTimestamp" in obj["metadata"]
        if found is not None:
            await self._refuse(obj, text, *found)
        self._touch(*key)
        return None

    def _refusal(self, obj: Obj, text: str) -> tuple[Refusal, str] | None:
        if "deletionTimestamp" not in obj["metadata"]:
            return Refusal.NOT_DELETING, "the allocation is not being deleted; delete it, then make one for its revision"
        try:
            signed = SignedStatement.parse(text)
        except ValueError as error:
            return Refusal.UNREADABLE, str(error)
        name = obj["spec"]["clusterRef"]["name"]
        cluster = self._informers.clusters.get(None, name)
        subject = Subject(
            cluster=name,
            account=self._account(obj),
            uid=obj["metadata"]["uid"],
            revision=(obj.get("status") or {}).get("grantRevision") or 0,
            resources=tuple(item["name"] for item in obj["spec"]["resources"]),
            known_until=self._known_until(obj),
        )
        trusted, now = trusted_keys(cluster) if cluster is not None else (), int(self._now().timestamp())
        return release.refusal(signed, subject, trusted, now, self._statement_seconds, self._taken.get(subject.uid))

    async def _take(self, obj: Obj, signed: SignedStatement) -> None:
        """Through the ledger, so that the grants see an acknowledgement like any other."""
        self._take_in(signed)
        await self._ledger.take_statement(signed, int(self._now().timestamp()))
        said, metadata = signed.statement, obj["metadata"]
        self._refused.pop(said.uid, None)
        self._metrics.statements.labels("Taken").inc()
        note = f"a statement of cluster {said.cluster}'s agent ({said.found}, revision {said.revision}) was taken by hand"
        LOG.warning(note, namespace=metadata["namespace"], name=metadata["name"], uid=said.uid, key=signed.public_key)
        once = signed.signature
        await self._tell(overdue.event(obj, "Allocation", Reason.STATEMENT_TAKEN, note, self._now(), once=once, is_loud=False))

    def _take_in(self, signed: SignedStatement) -> None:
        said = signed.statement
        self._taken[said.uid] = signed
        unreported = release.unreported_hours(said, self._directory.scales(said.cluster))
        self._books.stated[said.uid] = Stated(said.cluster, unreported, datetime.fromtimestamp(said.issued_at, UTC))

    async def _refuse(self, obj: Obj, text: str, refusal: Refusal, words: str) -> None:
        note = f"the release statement {release.mark(text)} does not count ({refusal}): {words}"
        self._refused[obj["metadata"]["uid"]] = note
        self._metrics.statements.labels(str(refusal)).inc()
        await self._tell(overdue.event(obj, "Allocation", Reason.STATEMENT_REFUSED, note, self._now(), once=f"{refusal}{text}"))

    async def _tell(self, event: Obj) -> None:
        try:
            await self._kube.create(EVENTS, event)
        except (AlreadyExists, NotFound, Forbidden):
            LOG.debug("an event is there already, or nobody takes it any more", name=event["metadata"]["name"])
        except KubeError as error:
            LOG.warning("an event could not be written", error=str(error))
