"""Published desired state: revisions only grow, generations only grow, the signed digest covers every entry."""

from collections.abc import Sequence
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from sqlalchemy import event

from bursar_domain.keys import Signer, fingerprint, verify
from bursar_domain.wire import AccountEntry, Delta, digest_of_all
from bursar_ledger import TOMBSTONE, EditedGrant, Ledger, Publication, StaleEpoch
from bursar_ledger.grants import PublishedGrant
from bursar_testing.wires import allocation, entry, settings

VALID = 1_000


class Operator:
    """Publishes for one cluster."""

    def __init__(self, ledger: Ledger, cluster: str, signer: Signer) -> None:
        self.ledger = ledger
        self.cluster = cluster
        self.signer = signer

    async def publish(
        self, *entries: AccountEntry, epoch: int = 1, acknowledged: int = 0, now: int = 0, capacity: int = 64
    ) -> Publication:
        return await self.ledger.publish(
            settings(self.cluster, capacity),
            entries,
            epoch=epoch,
            acknowledged=acknowledged,
            now=now,
            valid_seconds=VALID,
            sign=self.signer.sign,
        )

    async def read(self, after: int = 0) -> Delta:
        delta = await self.ledger.desired(self.cluster, after)
        assert delta is not None
        return delta


@pytest.fixture
def operator(ledger: Ledger, cluster: str, signer: Signer) -> Operator:
    return Operator(ledger, cluster, signer)


async def test_what_was_published_last_of_a_cluster_is_there_to_read(operator: Operator) -> None:
    assert await operator.ledger.published_settings(operator.cluster) is None
    for capacity in (64, 128):
        await operator.publish(entry("a"), capacity=capacity)
        assert await operator.ledger.published_settings(operator.cluster) == settings(operator.cluster, capacity)


async def test_first_publication_is_signed_over_every_entry(operator: Operator) -> None:
    done = await operator.publish(entry("a", allocation(operator.cluster)), entry("b"))
    assert (done.generation, done.changed, dict(done.revisions)) == (1, 2, {operator.cluster: 1})
    delta = await operator.read()
    root = verify(delta.root, fingerprint(operator.signer.public_key))
    assert root.digest == digest_of_all(delta.settings, [(e.account, e.digest()) for e in delta.entries])
    assert delta.full
    assert [e.account for e in delta.entries] == ["a", "b"]
    assert (root.generation, root.issued_at, root.valid_until) == (1, 0, VALID)


async def test_an_unchanged_entry_moves_nothing(operator: Operator) -> None:
    await operator.publish(entry("a"))
    before = (await operator.ledger.desired_versions())[operator.cluster]
    again = await operator.publish(entry("a"))
    assert (again.generation, again.changed) == (1, 0)
    assert (await operator.ledger.desired_versions())[operator.cluster] == before
    assert await operator.ledger.desired(operator.cluster, 1) is None


async def test_a_delta_holds_what_changed_after_the_generation(operator: Operator) -> None:
    await operator.publish(entry("a"), entry("b"))
    await operator.publish(entry("b", members=["bob"]))
    delta = await operator.read(1)
    assert not delta.full
    assert [(e.account, e.members) for e in delta.entries] == [("b", ("bob",))]
    assert (await operator.ledger.desired_generations())[operator.cluster] == 2


async def test_a_generation_to_come_gets_everything(operator: Operator) -> None:
    """An agent that knows more than the ledger met a restored backup: it must see all, and judge by the root."""
    await operator.publish(entry("a"))
    assert (await operator.read(7)).full


async def test_a_cluster_that_was_never_published_has_nothing(operator: Operator) -> None:
    assert await operator.ledger.desired(operator.cluster, 0) is None


async def test_settings_alone_make_a_generation(operator: Operator) -> None:
    await operator.publish(entry("a"))
    assert (await operator.publish(capacity=65)).generation == 2
    delta = await operator.read(1)
    assert delta.entries == ()
    assert delta.settings.resources[0].capacity == 65


async def test_a_lower_revision_keeps_what_is_stored(operator: Operator) -> None:
    uid = operator.cluster
    await operator.publish(entry("a", allocation(uid, 3, 30)))
    done = await operator.publish(entry("a", allocation(uid, 2, 99), members=["bob"]))
    assert dict(done.revisions) == {uid: 3}
    stored = (await operator.read()).entries[0]
    assert stored.members == ("bob",)
    assert stored.allocations == (allocation(uid, 3, 30),)


async def test_a_lower_revision_comes_back_as_it_was_after_being_left_out(operator: Operator) -> None:
    uid = operator.cluster
    await operator.publish(entry("a", allocation(uid, 3, 30)))
    await operator.publish(entry("a"))
    await operator.publish(entry("a", allocation(uid, 1, 99)))
    assert (await operator.read()).entries[0].allocations == (allocation(uid, 3, 30),)


async def test_one_revision_with_two_values_is_refused_whole(operator: Operator) -> None:
    uid = operator.cluster
    await operator.publish(entry("a", allocation(uid, 3, 30)))
    with pytest.raises(EditedGrant) as caught:
        await operator.publish(entry("a", allocation(uid, 3, 31)), entry("b"))
    assert (caught.value.uid, caught.value.revision) == (uid, 3)
    assert "publish revision 4" in str(caught.value)
    assert [e.account for e in (await operator.read()).entries] == ["a"]


async def test_zero_hours_and_no_hours_are_one_value(operator: Operator) -> None:
    uid = operator.cluster
    await operator.publish(entry("a", allocation(uid, 3, {"cpu": 0})))
    assert (await operator.publish(entry("a", allocation(uid, 3, {})))).changed == 1


async def test_what_is_tombstoned_is_never_published_again(operator: Operator) -> None:
    uid = operator.cluster
    await operator.publish(entry("a", allocation(uid, 3)))
    await operator.ledger.tombstone(uid)
    done = await operator.publish(entry("a", allocation(uid, 9)))
    assert dict(done.revisions) == {uid: TOMBSTONE}
    assert (await operator.read()).entries[0].allocations == ()
    assert await operator.ledger.grant_revisions([uid]) == {uid: (TOMBSTONE, {})}


async def test_a_tombstone_for_a_uid_that_was_never_published_holds(operator: Operator) -> None:
    uid = operator.cluster
    await operator.ledger.tombstone(uid)
    await operator.publish(entry("a", allocation(uid)))
    assert (await operator.read()).entries[0].allocations == ()


async def test_an_older_leader_is_refused_at_every_cluster(own: Ledger, signer: Signer) -> None:
    await Operator(own, "first", signer).publish(entry("a"), epoch=5)
    with pytest.raises(StaleEpoch, match="epoch 4 may not publish"):
        await Operator(own, "second", signer).publish(entry("a"), epoch=4)
    assert await own.highest_epoch() == 5
    assert await own.desired("second", 0) is None


async def test_a_new_leader_signs_anew_without_a_generation(own: Ledger, signer: Signer) -> None:
    operator = Operator(own, "c", signer)
    await operator.publish(entry("a"), epoch=1)
    assert (await operator.publish(epoch=2)).generation == 1
    document = await own.desired_document("c", 1, now=7)
    assert document is not None
    delta = Delta.model_validate_json(document.body)
    assert (document.version.signing, delta.root.root.epoch, delta.entries, delta.clock) == (2, 2, (), 7)


async def test_an_allocation_that_did_not_change_is_not_written_again(operator: Operator) -> None:
    kept, grown = f"{operator.cluster}-1", f"{operator.cluster}-2"
    await operator.publish(entry("a", allocation(kept), allocation(grown)))
    written: list[str] = []

    def note(_: object, __: object, statement: str, parameters: object, ___: object, many: bool) -> None:
        if statement.startswith("INSERT INTO desired_grants"):
            written.append(str(parameters))

    writer = operator.ledger._database._writer.sync_engine
    event.listen(writer, "before_cursor_execute", note)
    await operator.publish(entry("a", allocation(kept), allocation(grown, 2, 200)))
    event.remove(writer, "before_cursor_execute", note)
    assert (len(written), kept in written[0], grown in written[0]) == (1, False, True)
    assert (await operator.ledger.grant_revisions([kept, grown])) == {kept: (1, {"cpu": 100}), grown: (2, {"cpu": 200})}


@pytest.mark.parametrize(("now", "signed_anew"), [(200, False), (201, True)])
async def test_a_root_is_renewed_when_a_fifth_of_its_validity_is_gone(operator: Operator, now: int, signed_anew: bool) -> None:
    await operator.publish(entry("a"), now=0)
    await operator.publish(now=now)
    root = (await operator.read()).root.root
    assert root.valid_until == (now + VALID if signed_anew else VALID)
    assert root.generation == 1


async def test_a_release_is_signed_at_once_and_never_taken_back(operator: Operator) -> None:
    await operator.publish(entry("a"))
    await operator.publish(acknowledged=1)
    assert (await operator.read()).root.root.acknowledged == 1
    await operator.publish(entry("b"), acknowledged=0)
    assert (await operator.read()).root.root.acknowledged == 1


async def test_a_closed_account_stays_and_is_covered(operator: Operator) -> None:
    await operator.publish(entry("a"), entry("b"))
    await operator.publish(entry("a", closed=True))
    delta = await operator.read()
    assert [(e.account, e.closed) for e in delta.entries] == [("a", True), ("b", False)]
    assert delta.root.root.digest == digest_of_all(delta.settings, [(e.account, e.digest()) for e in delta.entries])


async def test_every_account_is_told_with_its_project(operator: Operator) -> None:
    assert await operator.ledger.desired_accounts(operator.cluster) == {}
    await operator.publish(entry("a", allocation(f"{operator.cluster}-1", 3, 30)), entry("b", closed=True))
    delta = await operator.read()
    assert await operator.ledger.desired_accounts(operator.cluster) == {item.account: item.project for item in delta.entries}
    assert await operator.ledger.published_settings(operator.cluster) == delta.settings


async def test_every_grant_is_told_with_its_place(operator: Operator) -> None:
    uid, gone = f"{operator.cluster}-1", f"{operator.cluster}-2"
    await operator.publish(entry("a", allocation(uid, 3, 30), allocation(gone)))
    await operator.ledger.tombstone(gone)
    await operator.ledger.tombstone("never")
    grants = {grant.uid: grant async for grant in operator.ledger.each_grant()}
    assert grants[uid] == PublishedGrant(uid, operator.cluster, "a", 3, allocation(uid, 3, 30).canonical().decode())
    assert grants[gone] == PublishedGrant(gone, operator.cluster, "a", TOMBSTONE, allocation(gone).canonical().decode())
    assert grants["never"] == PublishedGrant("never", "", "", TOMBSTONE, "")


STEP = st.tuples(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(1, 4)), min_size=1, max_size=4), st.booleans()
)


def hours_of(revision: int) -> int:
    """One value per revision, as the operator makes them."""
    return revision * 10


@given(steps=st.lists(STEP, min_size=1, max_size=6))
@profile(max_examples=60, deadline=None)
async def test_deltas_add_up_to_the_full_state_and_revisions_only_grow(
    ledger: Ledger, signer: Signer, steps: Sequence[tuple[list[tuple[str, int, int]], bool]]
) -> None:
    """An agent that follows by deltas, at whatever moments, has what a full read gives; its digest is the signed one."""
    cluster = f"c{uuid4().hex[:12]}"
    operator = Operator(ledger, cluster, signer)
    held: dict[str, AccountEntry] = {}
    at = 0
    highest: dict[str, int] = {}
    for accounts, reads in steps:
        entries = [
            entry(account, allocation(f"{cluster}-{account}", revision, hours_of(revision)), members=[f"u{user}"])
            for account, user, revision in accounts
        ]
        done = await operator.publish(*entries)
        for uid, revision in done.revisions.items():
            assert revision >= highest.get(uid, 0)
            highest[uid] = revision
        if reads and (delta := await ledger.desired(cluster, at)) is not None:
            held = {e.account: e for e in delta.entries} if delta.full else held | {e.account: e for e in delta.entries}
            at = delta.root.root.generation
    if (delta := await ledger.desired(cluster, at)) is not None:
        held |= {e.account: e for e in delta.entries}
    full = await operator.read()
    assert held == {e.account: e for e in full.entries}
    assert full.root.root.digest == digest_of_all(full.settings, [(e.account, e.digest()) for e in held.values()])
    for account in held.values():
        for item in account.allocations:
            assert item.grant_revision == highest[item.uid]
            assert item.granted == {"cpu": hours_of(item.grant_revision)}
