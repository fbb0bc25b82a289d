"""Leadership on a real Lease: one leader, an epoch that only grows, loss that is noticed."""

import asyncio
from collections.abc import Awaitable, Callable

from bursar_kube.client import Kube
from bursar_kube.lease import EPOCH_ANNOTATION, Leadership, default_identity, no_floor
from bursar_kube.resources import LEASES
from bursar_testing.relay import Relay
from bursar_testing.waiting import eventually


def candidate(
    kube: Kube, namespace: str, identity: str, floor: Callable[[], Awaitable[int]] = no_floor, **times: float
) -> Leadership:
    quick = {"deadline_seconds": 0.7, "retry_seconds": 0.1} | times
    return Leadership(kube, "leader", namespace, identity, floor, duration_seconds=1, **quick)


async def test_the_epoch_grows_with_every_term(kube: Kube, namespace: str) -> None:
    epochs = []
    for identity in ("one", "two", "one"):
        leader = candidate(kube, namespace, identity)
        epochs.append(await leader.acquire())
        assert leader.leading
        await leader.release()
        assert leader.lost.is_set()
    assert epochs == [1, 2, 3]
    lease = await kube.get(LEASES, "leader", namespace)
    assert lease["metadata"]["annotations"][EPOCH_ANNOTATION] == "3"
    assert not lease["spec"].get("holderIdentity")


async def test_the_epoch_is_above_the_floor(kube: Kube, namespace: str) -> None:
    async def highest_pool() -> int:
        return 41

    leader = candidate(kube, namespace, "one", highest_pool)
    assert await leader.acquire() == 42
    await leader.release()


async def test_a_second_one_waits_while_the_first_renews_and_takes_over_when_it_is_gone(kube: Kube, namespace: str) -> None:
    first, second = candidate(kube, namespace, "one"), candidate(kube, namespace, "two")
    assert await first.acquire() == 1
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(2.0)  # twice the lease's duration
    assert not waiting.done()
    assert first.leading
    crash(first)
    assert await waiting == 2
    lease = await kube.get(LEASES, "leader", namespace)
    assert lease["spec"]["holderIdentity"] == "two"
    await second.release()


async def test_a_released_lease_is_free_at_once(kube: Kube, namespace: str) -> None:
    first = candidate(kube, namespace, "one")
    await first.acquire()
    second = Leadership(kube, "leader", namespace, "two", duration_seconds=3600, retry_seconds=0.1)
    waiting = asyncio.create_task(second.acquire())
    await first.release()
    assert await waiting == 2
    await second.release()


async def test_a_leader_notices_that_another_has_the_lease(kube: Kube, namespace: str) -> None:
    leader = candidate(kube, namespace, "one")
    await leader.acquire()
    await kube.merge_patch(LEASES, "leader", {"spec": {"holderIdentity": "thief"}}, namespace)
    await eventually(leader.lost.is_set, "the loss is known")
    assert not leader.leading
    await leader.release()
    lease = await kube.get(LEASES, "leader", namespace)
    assert lease["spec"]["holderIdentity"] == "thief", "release leaves another's lease alone"
    assert await leader.acquire() == 2, "a new term, once the thief is silent"
    await leader.release()


async def test_a_leader_that_cannot_renew_is_lost(kube: Kube, relayed: Kube, relay: Relay, namespace: str) -> None:
    leader = candidate(relayed, namespace, "one")
    await leader.acquire()
    relay.freeze()
    await eventually(leader.lost.is_set, "the loss is known")
    relay.thaw()
    await leader.release()
    second = candidate(kube, namespace, "two")
    assert await second.acquire() == 2
    await second.release()


async def test_another_ones_edit_does_not_end_a_term(kube: Kube, namespace: str) -> None:
    leader = candidate(kube, namespace, "one")
    await leader.acquire()
    for number in range(3):
        await kube.merge_patch(LEASES, "leader", {"metadata": {"labels": {"edit": str(number)}}}, namespace)
        await asyncio.sleep(0.2)
    assert leader.leading
    await leader.release()


def test_every_process_is_somebody_else() -> None:
    assert default_identity() != default_identity()


def crash(leader: Leadership) -> None:
    """As a killed process: renewing stops, nothing is released."""
    assert leader._renewal is not None
    leader._renewal.cancel()
