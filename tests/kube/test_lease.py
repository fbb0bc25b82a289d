"""Leadership on a real Lease: one leader, an epoch that only grows, loss that is noticed."""

import asyncio
import errno
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import cast

import pytest

from bursar_kube.client import Kube, Obj
from bursar_kube.errors import NotFound, NotLeading
from bursar_kube.guard import UNACKNOWLEDGED_SECONDS, Gate, impatient_socket
from bursar_kube.lease import DEADLINE_SECONDS, DURATION_SECONDS, EPOCH_ANNOTATION, Leadership, default_identity, no_floor
from bursar_kube.resources import CONFIGMAPS, LEASES, ROLEBINDINGS, ROLES, SERVICEACCOUNTS
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


async def test_who_waits_hears_of_the_release_at_once(kube: Kube, namespace: str) -> None:
    first = candidate(kube, namespace, "one")
    await first.acquire()
    second = Leadership(kube, "leader", namespace, "two", duration_seconds=3600, retry_seconds=3600)
    waiting = asyncio.create_task(second.acquire())
    await eventually(lambda: second.holder == "one", "the second one has looked")
    await first.release()
    assert await asyncio.wait_for(waiting, 30) == 2
    await second.release()


async def test_who_may_not_watch_asks_again_and_again(kube: Kube, namespace: str) -> None:
    first = candidate(kube, namespace, "one")
    await first.acquire()
    second = candidate(await without_watch(kube, namespace), namespace, "two")
    waiting = asyncio.create_task(second.acquire())  # Forbidden at first: roles take a moment
    await eventually(lambda: second.holder == "one", "the second one has looked")
    await first.release()
    assert await asyncio.wait_for(waiting, 30) == 2
    await second.release()


async def test_a_lease_that_was_edited_is_released_too(kube: Kube, namespace: str) -> None:
    leader = candidate(kube, namespace, "one", retry_seconds=3600, deadline_seconds=3600)
    await leader.acquire()
    await kube.merge_patch(LEASES, "leader", {"metadata": {"labels": {"edit": "1"}}}, namespace)
    await leader.release()
    assert not (await kube.get(LEASES, "leader", namespace))["spec"].get("holderIdentity")


async def test_only_a_leader_writes(kube: Kube, namespace: str) -> None:
    leader = candidate(kube, namespace, "one")
    guarded = kube.guarded(Gate(leader.check))
    with pytest.raises(NotLeading):
        await guarded.create(CONFIGMAPS, config(namespace, "before"))
    await leader.acquire()
    await guarded.create(CONFIGMAPS, config(namespace, "during"))
    await leader.release()
    with pytest.raises(NotLeading):
        await guarded.delete(CONFIGMAPS, "during", namespace)
    assert [item["metadata"]["name"] for item in await guarded.list(CONFIGMAPS, namespace)] == ["during"], "reads go on"
    await guarded.close()


async def test_who_cannot_renew_writes_nothing_though_it_could(kube: Kube, relayed: Kube, relay: Relay, namespace: str) -> None:
    leader = candidate(relayed, namespace, "one")
    guarded = kube.guarded(Gate(leader.check))
    await leader.acquire()
    relay.freeze()
    await eventually(lambda: refused(leader), "the lease may have run out")
    with pytest.raises(NotLeading):
        await guarded.create(CONFIGMAPS, config(namespace, "late"))
    relay.thaw()
    await guarded.close()
    await leader.release()


async def test_who_stood_still_writes_nothing_until_it_has_renewed(kube: Kube, namespace: str) -> None:
    leader = candidate(kube, namespace, "one")
    guarded = kube.guarded(Gate(leader.check))
    await leader.acquire()
    time.sleep(0.9)  # noqa: ASYNC251 - as a process that is stopped: nothing of it runs
    with pytest.raises(NotLeading):
        await guarded.create(CONFIGMAPS, config(namespace, "late"))
    await eventually(lambda: not refused(leader), "nobody took the lease, so the term goes on")
    assert (leader.epoch, leader.lost.is_set()) == (1, False)
    await guarded.create(CONFIGMAPS, config(namespace, "again"))
    await guarded.close()
    await leader.release()


async def test_who_stood_still_while_another_took_over_sends_not_one_write(kube: Kube, namespace: str) -> None:
    leader = candidate(kube, namespace, "one")
    await leader.acquire()
    crash(leader)
    second = candidate(kube, namespace, "two", retry_seconds=3600, deadline_seconds=7200)
    assert await second.acquire() == 2
    version = await lease_version(kube, namespace)
    leader.lost.clear()
    leader._renewal = asyncio.create_task(leader._renew())  # wakes up
    await eventually(leader.lost.is_set, "the loss is known")
    assert await lease_version(kube, namespace) == version
    await leader.release()
    await second.release()


async def test_a_write_that_was_checked_is_checked_again_before_its_body(kube: Kube, namespace: str) -> None:
    looks = 0

    def stops_after_one_look() -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise NotLeading("stopped in between")

    guarded = kube.guarded(Gate(stops_after_one_look))
    with pytest.raises(NotLeading):
        await guarded.create(CONFIGMAPS, config(namespace, "torn"))
    assert looks == 2
    with pytest.raises(NotFound):
        await kube.get(CONFIGMAPS, "torn", namespace)
    await guarded.close()


async def test_a_closed_gate_waits_for_answers_and_lets_nothing_out(relayed: Kube, relay: Relay, namespace: str) -> None:
    gate = Gate(lambda: None)
    guarded = relayed.guarded(gate)
    await guarded.list(CONFIGMAPS, namespace)
    relay.freeze()
    under_way = asyncio.create_task(guarded.create(CONFIGMAPS, config(namespace, "under-way")))
    await eventually(lambda: gate.under_way == 1, "it is under way")
    closing = asyncio.create_task(gate.close(60))
    await asyncio.sleep(0)
    late = asyncio.create_task(guarded.create(CONFIGMAPS, config(namespace, "late")))
    relay.thaw()
    assert (await under_way)["metadata"]["name"] == "under-way"
    await closing
    assert [item["metadata"]["name"] for item in await guarded.list(CONFIGMAPS, namespace)] == ["under-way"]
    assert not late.done(), "it waits until it is cancelled"
    late.cancel()
    await guarded.close()


@pytest.mark.parametrize("error", [OSError(errno.EMFILE, "no more files"), json.JSONDecodeError("no JSON", "<html>", 0)])
async def test_an_error_that_passes_does_not_end_the_term(kube: Kube, namespace: str, error: Exception) -> None:
    failing = Failing(kube, error)
    leader = candidate(failing, namespace, "one", deadline_seconds=60)
    await leader.acquire()
    failing.fails = True
    await eventually(lambda: failing.failures >= 2, "renewals have failed")
    failing.fails = False
    version = await lease_version(kube, namespace)
    await eventually(lambda: leader._held is not None and leader._held["metadata"]["resourceVersion"] != version, "renewed")
    assert (leader.leading, leader.epoch) == (True, 1)
    await leader.release()


async def test_an_error_that_stays_ends_the_term_and_its_release_goes_well(kube: Kube, namespace: str) -> None:
    failing = Failing(kube, OSError(errno.EMFILE, "no more files"))
    leader = candidate(failing, namespace, "one")
    await leader.acquire()
    failing.fails = True
    await eventually(leader.lost.is_set, "the loss is known")
    await leader.release()


async def test_a_release_that_cannot_be_written_goes_well(kube: Kube, namespace: str) -> None:
    failing = Failing(kube, OSError(errno.EMFILE, "no more files"))
    leader = candidate(failing, namespace, "one", deadline_seconds=60)
    await leader.acquire()
    failing.fails = True
    await leader.release()
    assert not leader.leading


async def test_whatever_ends_the_renewal_ends_the_term(kube: Kube, namespace: str) -> None:
    leader = candidate(kube, namespace, "one")
    await leader.acquire()
    leader._retry = cast(float, None)  # nothing that a try may end with
    await eventually(leader.lost.is_set, "the loss is known")
    leader._retry = 1.0
    await leader.release()


async def test_who_waits_survives_an_error_that_passes(kube: Kube, namespace: str) -> None:
    failing = Failing(kube, OSError(errno.EMFILE, "no more files"))
    failing.fails = True
    leader = candidate(failing, namespace, "one")
    waiting = asyncio.create_task(leader.acquire())
    await eventually(lambda: failing.failures >= 3, "tries have failed")
    failing.fails = False
    assert await waiting == 1
    await leader.release()


def test_what_no_network_takes_is_given_up_before_another_may_lead() -> None:
    assert DEADLINE_SECONDS + UNACKNOWLEDGED_SECONDS <= DURATION_SECONDS
    with impatient_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))) as made:
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNACKNOWLEDGED_SECONDS * 1000


def test_every_process_is_somebody_else() -> None:
    assert default_identity() != default_identity()


class Failing(Kube):
    """The real client, whose credentials can't be read while `fails`."""

    def __init__(self, kube: Kube, error: Exception) -> None:
        super().__init__(kube._connection, kube._transport, kube._bare, self._show, owner=False)
        self.fails = False
        self.failures = 0
        self._error = error

    async def _show(self) -> str | None:
        if self.fails:
            self.failures += 1
            raise self._error
        return None


def crash(leader: Leadership) -> None:
    """As a killed process: renewing stops, nothing is released."""
    assert leader._renewal is not None
    leader._renewal.cancel()


async def without_watch(kube: Kube, namespace: str) -> Kube:
    """Somebody who may do with leases what an operator does, but not watch them."""
    kind, group = {"kind": "ServiceAccount", "name": "waiter"}, "rbac.authorization.k8s.io"
    rule = {"apiGroups": [LEASES.group], "resources": [LEASES.plural], "verbs": ["get", "create", "update"]}
    await kube.create(SERVICEACCOUNTS, config(namespace, "waiter"))
    await kube.create(ROLES, config(namespace, "waiter") | {"rules": [rule]})
    reference = {"apiGroup": group, "kind": "Role", "name": "waiter"}
    subjects = [kind | {"namespace": namespace}]
    await kube.create(ROLEBINDINGS, config(namespace, "waiter") | {"roleRef": reference, "subjects": subjects})
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = await kube.raw("POST", SERVICEACCOUNTS.path("waiter", namespace, "token"), request)
    return kube.as_token(token["status"]["token"])


def config(namespace: str, name: str) -> Obj:
    return {"metadata": {"name": name, "namespace": namespace}}


def refused(leader: Leadership) -> bool:
    """Whether a write would be refused now."""
    try:
        leader.check()
    except NotLeading:
        return True
    return False


async def lease_version(kube: Kube, namespace: str) -> str:
    version: str = (await kube.get(LEASES, "leader", namespace))["metadata"]["resourceVersion"]
    return version
