"""Published desired state: the operator publishes, agents read what changed since a generation."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from time import time

import orjson
from sqlalchemy import delete, select

from bursar_domain.wire import AccountEntry, ClusterSettings, Delta, Root, SignedRoot, digest_of_all
from bursar_ledger import desired_rows, tables
from bursar_ledger.database import Database, upsert
from bursar_ledger.publication import TOMBSTONE, Publication, changed_entries, merge, must_sign, revisions_after

Sign = Callable[[Root], SignedRoot]


@dataclass(frozen=True, slots=True)
class Version:
    """Tells one signed root from another: the generation, and how often a root was signed for the cluster."""

    generation: int
    signing: int


@dataclass(frozen=True, slots=True)
class Document:
    """A `Delta` as JSON, ready to send."""

    version: Version
    body: bytes


class Desired:
    """Desired state per cluster."""

    _database: Database

    async def publish(
        self,
        settings: ClusterSettings,
        entries: Sequence[AccountEntry],
        *,
        epoch: int,
        acknowledged: int,
        now: int,
        valid_seconds: int,
        sign: Sign,
    ) -> Publication:
        """Store the entries that changed and sign the root over all of them, in one transaction.

        Raises StaleEpoch where a newer leader has published for any cluster, EditedGrant where one revision comes with other
        hours. With no entries it renews a root that has lost a fifth of its validity.
        """
        cluster = settings.cluster
        async with self._database.write() as tx:
            await desired_rows.fence(tx, epoch)
            head = await desired_rows.head(tx, cluster)
            uids = [allocation.uid for entry in entries for allocation in entry.allocations]
            grants = await desired_rows.grants(tx, uids)
            digests = await desired_rows.digests(tx, cluster)
            changes = changed_entries(merge(entries, grants), digests)
            text = settings.canonical().decode()
            moved = bool(changes) or head is None or head.settings != text
            generation = (head.generation if head else 0) + moved
            released = max(acknowledged, head.acknowledged if head else 0)
            if must_sign(head, epoch=epoch, acknowledged=released, now=now, valid_seconds=valid_seconds, moved=moved):
                digests |= {change.entry.account: change.digest for change in changes}
                root = Root(
                    cluster=cluster,
                    epoch=epoch,
                    generation=generation,
                    acknowledged=released,
                    issued_at=now,
                    valid_until=now + valid_seconds,
                    digest=digest_of_all(settings, digests.items()),
                )
                await desired_rows.store_head(tx, text, sign(root), (head.signing if head else 0) + 1)
            await desired_rows.store_entries(tx, cluster, generation, changes)
            await desired_rows.store_grants(tx, cluster, changes, grants)
        return Publication(generation, len(changes), revisions_after(uids, grants, changes))

    async def tombstone(self, uid: str) -> None:
        """Nothing may be published for this uid any more; one that was never published is remembered too.

        The entry stays as it was published last: what was put down to the allocation stays with it. What was in force of it
        and what it was told goes.
        """
        columns = tables.Grant.cluster, tables.Grant.account, tables.Grant.entry
        async with self._database.write() as tx:
            stored = (await tx.execute(select(*columns).where(tables.Grant.uid == uid))).first()
            cluster, account, entry = stored or ("", "", "")
            row = {"uid": uid, "cluster": cluster, "account": account, "revision": TOMBSTONE, "granted": "{}", "entry": entry}
            await upsert(tx, tables.Grant, [row])
            for table in (tables.RulesInForce, tables.Firing):
                await tx.execute(delete(table).where(table.uid == uid))

    async def grant_revisions(self, uids: Iterable[str] | None = None) -> dict[str, tuple[int, dict[str, int]]]:
        """uid -> (highest revision published, hours granted with it); `TOMBSTONE` and nothing for a uid that is gone."""
        async with self._database.read() as tx:
            grants = await desired_rows.grants(tx, None if uids is None else list(uids))
        return {uid: (grant.revision, orjson.loads(grant.granted)) for uid, grant in grants.items()}

    async def desired_generations(self) -> dict[str, int]:
        """Cluster -> newest generation."""
        return {cluster: version.generation for cluster, version in (await self.desired_versions()).items()}

    async def desired_versions(self) -> dict[str, Version]:
        """Cluster -> newest generation and signing."""
        query = select(tables.Head.cluster, tables.Head.generation, tables.Head.signing)
        async with self._database.read() as tx:
            return {cluster: Version(generation, signing) for cluster, generation, signing in await tx.execute(query)}

    async def desired_accounts(self, cluster: str) -> dict[str, str]:
        """Account -> project, of every entry there is."""
        async with self._database.read() as tx:
            return await desired_rows.projects(tx, cluster)

    async def published_settings(self, cluster: str) -> ClusterSettings | None:
        """What was published last of the cluster itself, whether its object is there still or not."""
        query = select(tables.Head.settings).where(tables.Head.cluster == cluster)
        async with self._database.read() as tx:
            found = (await tx.execute(query)).scalar_one_or_none()
        return None if found is None else ClusterSettings.model_validate_json(found)

    async def highest_epoch(self) -> int:
        """The highest leader's term that has published; 0 before the first."""
        async with self._database.read() as tx:
            return await desired_rows.highest_epoch(tx)

    async def desired(self, cluster: str, after: int) -> Delta | None:
        """What changed after the generation; None where nothing is newer. Full when ``after`` is 0 or a generation to come."""
        document = await self.desired_document(cluster, after, now=int(time()))
        if document is None or document.version.generation == after:
            return None
        return Delta.model_validate_json(document.body)

    async def desired_document(self, cluster: str, after: int, *, now: int) -> Document | None:
        """The same as JSON, None before the first; at ``after`` itself without entries, for the root may be signed anew."""
        async with self._database.read() as tx:
            query = select(tables.Head.generation, tables.Head.signing, tables.Head.settings, tables.Head.root)
            found = (await tx.execute(query.where(tables.Head.cluster == cluster))).first()
            if found is None:
                return None
            generation, signing, settings, root = found
            full = after <= 0 or after > generation
            entries = ",".join(await desired_rows.entries_after(tx, cluster, 0 if full else after))
        flag = "true" if full else "false"
        body = f'{{"root":{root},"settings":{settings},"full":{flag},"entries":[{entries}],"clock":{now}}}'
        return Document(Version(generation, signing), body.encode())
