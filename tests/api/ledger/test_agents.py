"""Agents: one session holds a cluster; status replaces, revisions only grow, nobody speaks for another cluster."""

import pytest

from bursar_domain.keys import Signer
from bursar_domain.wire import AccountState, Brake, Miss
from bursar_ledger import Fenced, Ledger
from bursar_testing.wires import allocation, entry, hello, publish_accounts, settings, status, usage

BUSY = AccountState(account="a", state="Enforced", committed={"cpu": 7})


async def published(ledger: Ledger, cluster: str, signer: Signer, uid: str) -> None:
    """One allocation of the cluster."""
    found = entry("a", allocation(uid))
    await ledger.publish(settings(cluster), [found], epoch=1, acknowledged=0, now=0, valid_seconds=9, sign=signer.sign)


async def test_a_session_is_taken_in(ledger: Ledger, cluster: str) -> None:
    reply = await ledger.record_hello(cluster, hello(clock=940), 1000)
    assert (reply.accepted, reply.clock) == (True, 1000)
    record = (await ledger.agents())[cluster]
    assert (record.session, record.last_seen, record.skew_seconds, record.generation) == ("s1", 1000, -60, 0)
    assert (record.watermark, record.brake, record.scheduler_time) == (None, None, 0)
    assert await ledger.session(cluster) == "s1"


@pytest.mark.parametrize(("silent", "accepted"), [(0, False), (11, False), (12, True)])
async def test_the_younger_session_is_fenced_until_the_other_is_silent(
    ledger: Ledger, cluster: str, silent: int, accepted: bool
) -> None:
    await ledger.record_hello(cluster, hello("old"), 1000)
    await ledger.touch(cluster, "old", 1005)
    reply = await ledger.record_hello(cluster, hello("young"), 1005 + silent)
    assert reply.accepted is accepted
    assert await ledger.session(cluster) == ("young" if accepted else "old")
    assert accepted or "session old with the same key" in reply.reason


async def test_the_same_session_may_say_hello_again(ledger: Ledger, cluster: str) -> None:
    assert (await ledger.record_hello(cluster, hello("s1"), 1000)).accepted
    assert (await ledger.record_hello(cluster, hello("s1"), 1001)).accepted


@pytest.mark.parametrize(("later", "accepted"), [(0, False), (1, True)])
async def test_a_broken_connection_gives_the_cluster_up(ledger: Ledger, cluster: str, later: int, accepted: bool) -> None:
    await ledger.record_hello(cluster, hello("old"), 1000)
    await ledger.release(cluster, "old", 1000)
    assert (await ledger.record_hello(cluster, hello("young"), 1000 + later)).accepted is accepted


async def test_who_does_not_hold_the_cluster_leaves_no_trace(ledger: Ledger, cluster: str) -> None:
    await ledger.record_hello(cluster, hello("old"), 1000)
    await ledger.touch(cluster, "young", 1005)
    await ledger.release(cluster, "young", 1005)
    with pytest.raises(Fenced, match="is fenced: session old with the same key"):
        await ledger.record_status(cluster, status(session="young", accounts=[BUSY]), 1005)
    with pytest.raises(Fenced):
        await ledger.put_usage(cluster, usage("1", session="young", watermark=5), 1005)
    assert (await ledger.agents())[cluster].last_seen == 1000
    assert await ledger.account_states(cluster) == {}
    assert await ledger.watermark(cluster) is None


async def test_time_never_goes_back(ledger: Ledger, cluster: str) -> None:
    await ledger.record_hello(cluster, hello(), 1000)
    await ledger.touch(cluster, "s1", 990)
    assert (await ledger.agents())[cluster].last_seen == 1000
    await ledger.record_status(cluster, status(), 1010)
    assert (await ledger.agents())[cluster].last_seen == 1010


async def test_a_status_report_shows_in_the_record(ledger: Ledger, cluster: str) -> None:
    miss = Miss(reason="NoSafe", message="safe is missing", remedy="AccountingStorageEnforce=safe")
    brake = Brake(generation=3, changes=("hold a",), message="too much")
    await ledger.record_hello(cluster, hello(), 1000)
    await ledger.record_status(cluster, status("1", generation=3, digest="x", brake=brake, misses=[miss]), 1001)
    await ledger.put_usage(cluster, usage("1", watermark=77), 1002)
    record = (await ledger.agents())[cluster]
    assert (record.generation, record.digest, record.scheduler_time, record.enforced_at) == (3, "x", 500, 900)
    assert (record.brake, record.misses, record.watermark, record.last_seen) == (brake, (miss,), 77, 1002)
    await ledger.record_status(cluster, status("2"), 1003)
    record = (await ledger.agents())[cluster]
    assert (record.brake, record.misses) == (None, ())


async def test_misses_of_hello_count_until_the_first_status(ledger: Ledger, cluster: str) -> None:
    miss = Miss(reason="NoSafe", message="safe is missing", remedy="")
    await ledger.record_hello(cluster, hello().model_copy(update={"misses": (miss,)}), 1000)
    assert (await ledger.agents())[cluster].misses == (miss,)


async def test_accounts_replace_and_a_full_report_forgets_the_others(ledger: Ledger, cluster: str) -> None:
    other = AccountState(account="b", state="Pending")
    await ledger.record_status(cluster, status("1", accounts=[BUSY, other]), 1)
    failed = BUSY.model_copy(update={"state": "Failed", "error": "sacctmgr: timed out"})
    await ledger.record_status(cluster, status("2", accounts=[failed]), 2)
    assert await ledger.account_states(cluster) == {"a": failed, "b": other}
    await ledger.record_status(cluster, status("3", accounts=[failed], full=True), 3)
    assert await ledger.account_states(cluster) == {"a": failed}


async def test_revisions_read_back_only_grow(ledger: Ledger, cluster: str, signer: Signer) -> None:
    await published(ledger, cluster, signer, cluster)
    first = status("1", acknowledgements={cluster: 2}, revision_times={cluster: 1.5})
    await ledger.record_status(cluster, first, 1)
    await ledger.record_status(cluster, status("2", acknowledgements={cluster: 1}, revision_times={cluster: 9.5}), 2)
    assert await ledger.acknowledgements(cluster) == {cluster: 2}
    assert (await ledger.acknowledgements())[cluster] == 2
    assert (await ledger.read_backs(cluster))[cluster].at == 1.5


async def test_an_agent_acknowledges_for_no_other_cluster(ledger: Ledger, cluster: str, signer: Signer) -> None:
    await published(ledger, cluster, signer, cluster)
    receipt = await ledger.record_status(f"{cluster}x", status(acknowledgements={cluster: 9, "unknown": 1}), 1)
    assert (receipt.accepted, receipt.dropped) == (0, 2)
    assert await ledger.acknowledgements(cluster) == {}
    assert cluster not in await ledger.acknowledgements()


async def test_the_same_report_again_changes_nothing(ledger: Ledger, cluster: str) -> None:
    await ledger.record_status(cluster, status("1", accounts=[BUSY]), 1)
    await ledger.record_status(cluster, status("2", accounts=[BUSY.model_copy(update={"state": "Failed"})]), 2)
    number = await ledger.change_number()
    again = await ledger.record_status(cluster, status("1", accounts=[BUSY]), 3)
    assert (again.accepted, again.clock) == (1, 3)
    assert (await ledger.account_states(cluster))["a"].state == "Failed"
    assert await ledger.change_number() == number


async def test_a_report_is_forgotten_after_a_day(ledger: Ledger, cluster: str) -> None:
    """So that the table stays small; an id that comes again then is a new report."""
    await ledger.record_status(cluster, status("1"), 1)
    await ledger.record_status(cluster, status("2"), 2 + 86_400)
    number = await ledger.change_number()
    await ledger.record_status(cluster, status("1"), 3 + 86_400)
    assert await ledger.change_number() > number


@pytest.mark.parametrize(("kind", "time"), [("slurm", 10_300), ("simulator", 10**8)])
async def test_a_time_that_is_to_come_is_a_simulators_alone(ledger: Ledger, cluster: str, kind: str, time: int) -> None:
    """The agent's clock was ahead in its last cycle."""
    await publish_accounts(ledger, cluster, "a", scheduler=kind)
    await ledger.record_hello(cluster, hello(), 10_000)
    await ledger.record_status(cluster, status("1", scheduler_time=9_999), 10_000)
    assert (await ledger.agents())[cluster].scheduler_time == 9_999
    await ledger.record_status(cluster, status("2", scheduler_time=10**8), 10_000)
    assert (await ledger.agents())[cluster].scheduler_time == time
