"""The operator's own certificate code against a real API server: rotation while people write, and what heals how."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.resources import ALLOCATIONS, SECRETS
from bursar_operator.certificates import SECRET, VALID, Certificates, Issued, issue, stored
from bursar_testing.steadywrites import steady_writes
from bursar_testing.waiting import eventually
from bursar_testing.webhooks import SYSTEM, Webhook, fitting_allocation, point_to, put_certificate, register

ALWAYS = timedelta(days=1)


def certificates(kube: Kube, *, renew_before: timedelta = ALWAYS) -> Certificates:
    """Of a day each; as it stands every look finds the certificate due, so each pass is a rotation."""
    return Certificates(kube, SYSTEM, "bursar", _now, valid=ALWAYS, renew_before=renew_before, settle_seconds=1.0)


def _now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def rotated(webhook: Webhook, kube: Kube) -> AsyncIterator[Webhook]:
    """The webhook, which has its own certificate back afterwards."""
    yield webhook
    await put_certificate(kube, webhook.issued)
    await register(kube, webhook)


async def kept(kube: Kube) -> Issued:
    found = stored(await kube.get(SECRETS, SECRET, SYSTEM))
    assert found is not None
    return found


async def shown(kube: Kube, webhook: Webhook) -> None:
    """Until the webhook shows what the Secret holds."""
    newest = replace(webhook, issued=await kept(kube))
    await eventually(lambda: newest.answers("/readyz"), "the certificate of the Secret is shown")


async def failing(kube: Kube, words: str) -> None:
    """Until the API server fails to call the webhook with these words."""
    said = ""
    async with asyncio.timeout(30):
        while words not in said:
            try:
                await kube.create(ALLOCATIONS, fitting_allocation(), dry_run=True)
            except KubeError as error:
                said = str(error)
            await asyncio.sleep(0.02)


async def test_certificate_and_authority_rotate_without_a_gap(rotated: Webhook, kube: Kube) -> None:
    keeper = certificates(kube)
    seen = {rotated.issued.certificate}
    async with steady_writes(kube) as written:
        for _ in range(3):
            await written.more()
            await keeper.ensure()
            await shown(kube, rotated)
            seen.add((await kept(kube)).certificate)
        await written.more()
    assert len(seen) == 4
    assert written.failures == []


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_destroyed_secret_is_made_again_without_a_gap(rotated: Webhook, kube: Kube, restarted: bool) -> None:
    keeper = certificates(kube, renew_before=timedelta(0))
    await keeper.ensure()
    await shown(kube, rotated)
    before = await kept(kube)
    async with steady_writes(kube) as written:
        await kube.delete(SECRETS, SECRET, SYSTEM)
        await written.more()
        await (certificates(kube, renew_before=timedelta(0)) if restarted else keeper).ensure()
        await shown(kube, rotated)
        await written.more()
    after = await kept(kube)
    assert after.certificate != before.certificate
    assert x509.load_pem_x509_certificates(before.authorities)[0] in x509.load_pem_x509_certificates(after.authorities)
    assert written.failures == []


async def test_a_key_of_another_certificate_is_not_taken_up_and_replaced(rotated: Webhook, kube: Kube) -> None:
    keeper = certificates(kube, renew_before=timedelta(0))
    await keeper.ensure()
    await shown(kube, rotated)
    good, other = await kept(kube), issue(["localhost"], _now())
    async with steady_writes(kube) as written:
        await put_certificate(kube, Issued(good.authorities, other.certificate, good.key))
        log = rotated.process.last_lines
        await eventually(lambda: any("holds no usable certificate; the last one stays" in line for line in log(100)))
        assert replace(rotated, issued=good).answers("/readyz")
        await written.more()
        await keeper.ensure()
        await shown(kube, rotated)
        await written.more()
    assert written.failures == []


async def test_an_expired_certificate_stops_writes_until_the_next_pass(rotated: Webhook, kube: Kube) -> None:
    expired = issue(["localhost"], _now() - VALID - timedelta(days=1))
    await put_certificate(kube, expired)
    await point_to(kube, replace(rotated, issued=expired))
    await failing(kube, "certificate has expired")
    await certificates(kube, renew_before=timedelta(0)).ensure()
    await shown(kube, rotated)
    await healed(kube)


async def test_a_foreign_authority_in_the_configuration_stops_writes_until_the_next_pass(rotated: Webhook, kube: Kube) -> None:
    keeper = certificates(kube, renew_before=timedelta(0))
    await keeper.ensure()
    await shown(kube, rotated)
    before = await kept(kube)
    await point_to(kube, replace(rotated, issued=issue(["localhost"], _now())))
    await failing(kube, "certificate signed by unknown authority")
    await keeper.ensure()
    await healed(kube)
    assert await kept(kube) == before, "nothing was wrong with the certificate, so it stays"


async def healed(kube: Kube) -> None:
    """Until a write goes through."""
    async with asyncio.timeout(30):
        while True:
            try:
                await kube.create(ALLOCATIONS, fitting_allocation(), dry_run=True)
            except KubeError:
                await asyncio.sleep(0.02)
            else:
                return
