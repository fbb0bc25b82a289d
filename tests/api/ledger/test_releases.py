"""Statements that came by hand: kept with their signature, taken as the acknowledgement that they stand for."""

import pytest

from bursar_domain.keys import Signer
from bursar_domain.release import ReleaseStatement, SignedStatement, is_signed, sign
from bursar_ledger import BadReport, Ledger
from bursar_testing.wires import allocation, entry, settings

KEY = Signer(bytes(32))


def stated(cluster: str, uid: str, revision: int, account: str = "a") -> SignedStatement:
    """A statement about an allocation."""
    said = ReleaseStatement(
        cluster=cluster,
        account=account,
        uid=uid,
        revision=revision,
        issued_at=500,
        scheduler="slurm c",
        found="Gone",
        used_since=0,
        used={"cpu": 7},
    )
    return sign(said, KEY)


async def published(ledger: Ledger, cluster: str, uid: str) -> None:
    """One allocation of the cluster is known to agents."""
    found = entry("a", allocation(uid))
    await ledger.publish(settings(cluster), [found], epoch=1, acknowledged=0, now=0, valid_seconds=9, sign=KEY.sign)


async def test_a_statement_is_an_acknowledgement_and_is_kept(ledger: Ledger, cluster: str) -> None:
    await published(ledger, cluster, f"{cluster}-1")
    before = await ledger.change_number()
    signed = stated(cluster, f"{cluster}-1", 4)
    await ledger.take_statement(signed, 600)
    assert (await ledger.acknowledgements(cluster))[f"{cluster}-1"] == 4
    assert (await ledger.read_backs(cluster))[f"{cluster}-1"].at == 500.0
    kept = [item for item in await ledger.release_statements() if item.statement.cluster == cluster]
    assert kept == [signed]
    assert is_signed(kept[0])
    told = {(change.kind, change.account) for change in await ledger.changes(before)}
    assert told == {("status", None), ("status", "a")}


async def test_the_same_again_changes_nothing_and_a_lower_revision_takes_nothing_back(ledger: Ledger, cluster: str) -> None:
    uid = f"{cluster}-1"
    await published(ledger, cluster, uid)
    for revision in (4, 4, 3):
        await ledger.take_statement(stated(cluster, uid, revision), 600)
    assert (await ledger.acknowledgements(cluster))[uid] == 4
    kept = [item.statement.revision for item in await ledger.release_statements() if item.statement.cluster == cluster]
    assert sorted(kept) == [3, 4]


async def test_what_was_never_published_there_has_nothing_to_acknowledge(ledger: Ledger, cluster: str) -> None:
    await published(ledger, cluster, f"{cluster}-1")
    for signed in (stated("elsewhere", f"{cluster}-1", 4), stated(cluster, "unknown", 4)):
        with pytest.raises(BadReport, match="nothing was published of"):
            await ledger.take_statement(signed, 600)
    assert f"{cluster}-1" not in await ledger.acknowledgements(cluster)
