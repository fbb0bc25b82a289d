"""Usage: slots replace by the greater version, whatever the order, duplication and chunking of reports; sums are exact."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bursar_domain.buckets import Amounts, JobUse, RowKey, slots_of
from bursar_domain.units import HOUR, QUARTER
from bursar_domain.wire import SlotReport
from bursar_ledger import Ledger
from bursar_testing.wires import publish_accounts, slot, slots_at, usage

CPU = RowKey("alice", "cpu")
DAY = 86_400
NOW = 2_000_000_000

JOBS = st.lists(
    st.builds(
        lambda number, account, user, start, seconds, cpus, memory, state, factor: JobUse(
            key=str(number),
            account=account,
            user=user,
            start=start,
            end=start + seconds,
            allocated={"cpu": cpus, "memory": memory},
            state=state,
            factor_thousandths=factor,
        ),
        number=st.integers(0, 10**6),
        account=st.sampled_from(["physics", "botany"]),
        user=st.sampled_from(["alice", "bob"]),
        start=st.integers(0, 3 * HOUR),
        seconds=st.integers(0, 3 * HOUR),
        cpus=st.integers(0, 500),
        memory=st.integers(0, 10**6),
        state=st.sampled_from(["COMPLETED", "NODE_FAIL", "FAILED"]),
        factor=st.sampled_from([0, 333, 1000, 1500]),
    ),
    max_size=8,
)


def expected(jobs: Sequence[JobUse]) -> dict[str, dict[str, int]]:
    """An independent sum: allocated units times seconds times factor, per account and resource, job by job."""
    sums: Counter[tuple[str, str]] = Counter()
    for job in jobs:
        for resource, units in job.allocated.items():
            sums[job.account, resource] += units * (job.end - job.start) * job.factor_thousandths // 1000
    found: dict[str, dict[str, int]] = {}
    for (account, resource), amount in sums.items():
        if amount:
            found.setdefault(account, {})[resource] = amount
    return found


@given(batches=st.lists(JOBS, min_size=1, max_size=3), seed=st.integers(0, 2**32))
@profile(max_examples=80, deadline=None)
async def test_totals_are_the_sum_over_the_jobs_whatever_the_order(
    ledger: Ledger, batches: list[list[JobUse]], seed: int
) -> None:
    """Each read sees more jobs than the one before; its pages come shuffled, twice, in any chunking, older ones last."""
    site, random = f"c{uuid4().hex[:12]}", Random(seed)
    await publish_accounts(ledger, site, "physics", "botany")
    seen: list[JobUse] = []
    pages: list[list[SlotReport]] = []
    for seq, batch in enumerate(batches, start=1):
        seen += batch
        slots = slots_at((0, seq), slots_of(seen))
        random.shuffle(slots)
        size = random.randint(1, 5)
        pages += [slots[at : at + size] for at in range(0, len(slots), size)]
    sent = pages + random.sample(pages, len(pages) // 2)
    random.shuffle(sent)
    for number, page in enumerate(sent):
        await ledger.put_usage(site, usage(f"{number}", *page), NOW)
    assert await ledger.totals(site) == expected(seen)


@given(jobs=JOBS)
@profile(max_examples=40, deadline=None)
async def test_every_way_to_sum_gives_the_same(ledger: Ledger, jobs: list[JobUse]) -> None:
    site = f"c{uuid4().hex[:12]}"
    await publish_accounts(ledger, site, "physics", "botany")
    await ledger.put_usage(site, usage("r", *slots_at((0, 1), slots_of(jobs))), NOW)
    for account in ("physics", "botany"):
        whole = {str(r["resource"]): r["charged"] for r in await ledger.usage(site, account=account)}
        quarters = await ledger.quarters(site, account)
        assert {name: sum(amount for _, amount in found) for name, found in quarters.items()} == {
            name: amount for name, amount in whole.items() if amount
        }
        for by in ("user", "resource", "month", "day", "hour"):
            sums: Counter[str] = Counter()
            for row in await ledger.usage(site, account=account, by=by):
                sums[str(row["resource"])] += int(row["charged"])
            assert dict(sums) == whole


VERSIONS = [
    ("greater seq", (1, 7), (1, 8), 5),
    ("smaller seq", (1, 7), (1, 6), 9),
    ("same version", (1, 7), (1, 7), 9),
    ("greater epoch, wholly in", (1, 7), (2, 1), 5),
    ("smaller epoch", (2, 1), (1, 9), 9),
]


@pytest.mark.parametrize(("first", "second", "hours"), [row[1:] for row in VERSIONS], ids=[row[0] for row in VERSIONS])
async def test_the_greater_version_replaces(
    ledger: Ledger, site: str, first: tuple[int, int], second: tuple[int, int], hours: int
) -> None:
    await ledger.put_usage(site, usage("1", slot("a", 0, first, {CPU: Amounts((9 * HOUR, 0, 0, 0))})), NOW)
    rebuilt = (2, 0, HOUR) if second[0] == 2 else None
    page = usage("2", slot("a", 0, second, {CPU: Amounts((0, 5 * HOUR, 0, 0))}), rebuilt=rebuilt)
    receipt = await ledger.put_usage(site, page, NOW)
    assert await ledger.totals(site) == {"a": {"cpu": hours * HOUR}}
    assert (receipt.accepted, receipt.dropped) == ((1, 0) if hours == 5 else (0, 1))


async def test_a_row_that_is_absent_is_zero(ledger: Ledger, site: str) -> None:
    rows = {CPU: Amounts((9, 0, 0, 0)), RowKey("bob", "cpu"): Amounts((4, 0, 0, 0))}
    await ledger.put_usage(site, usage("1", slot("a", 0, (1, 1), rows)), NOW)
    await ledger.put_usage(site, usage("2", slot("a", 0, (1, 2), {CPU: rows[CPU]})), NOW)
    assert [row["user"] for row in await ledger.usage(site, by="user")] == ["alice"]


async def test_an_emptied_slot_is_empty(ledger: Ledger, site: str) -> None:
    await ledger.put_usage(site, usage("1", slot("a", 0, (1, 1), {CPU: Amounts((9, 0, 0, 0))})), NOW)
    await ledger.put_usage(site, usage("2", slot("a", 0, (1, 2), {})), NOW)
    assert await ledger.totals(site) == {}
    assert not await ledger.has_use("a", site)


async def test_the_greatest_version_within_one_report_counts(ledger: Ledger, site: str) -> None:
    three = [slot("a", 0, (0, seq), {CPU: Amounts((seq, 0, 0, 0))}) for seq in (2, 3, 1)]
    receipt = await ledger.put_usage(site, usage("1", *three), NOW)
    assert (receipt.accepted, receipt.dropped) == (1, 2)
    assert await ledger.totals(site) == {"a": {"cpu": 3}}


async def test_the_same_report_again_gets_the_same_receipt(ledger: Ledger, site: str) -> None:
    report = usage("1", slot("a", 0, (0, 1), {CPU: Amounts((1, 0, 0, 0))}), watermark=10)
    first = await ledger.put_usage(site, report, 5)
    number = await ledger.change_number()
    again = await ledger.put_usage(site, report, 6)
    assert (again.accepted, again.dropped) == (first.accepted, first.dropped) == (1, 0)
    assert await ledger.change_number() == number


async def test_refunds_are_kept_apart(ledger: Ledger, site: str) -> None:
    """Allocated 400, of which 50 by a node failure: 350 charged."""
    await ledger.put_usage(site, usage("1", slot("a", 0, (0, 1), {CPU: Amounts((400, 0, 0, 0), (50, 0, 0, 0))})), NOW)
    assert await ledger.usage(site) == [{"account": "a", "resource": "cpu", "allocated": 400, "refunded": 50, "charged": 350}]
    assert await ledger.quarters(site, "a") == {"cpu": [(0, 350)]}
    assert await ledger.totals(site) == {"a": {"cpu": 400}}


async def test_quarters_lie_inside_the_period(ledger: Ledger, site: str) -> None:
    rows = {CPU: Amounts((1, 2, 3, 4))}
    await ledger.put_usage(site, usage("1", *(slot("a", hour * HOUR, (0, 1), rows) for hour in range(3))), NOW)
    start, end = HOUR - QUARTER, HOUR + 2 * QUARTER
    assert await ledger.quarters(site, "a", start, end) == {"cpu": [(start, 4), (HOUR, 1), (HOUR + QUARTER, 2)]}
    assert (await ledger.usage(site, start=start, end=end))[0]["allocated"] == 7
    assert (await ledger.usage(site, start=start))[0]["allocated"] == 24
    assert (await ledger.usage(site, end=end))[0]["allocated"] == 13


async def test_months_and_days_are_those_of_the_calendar(ledger: Ledger, site: str) -> None:
    rows = {CPU: Amounts((1, 0, 0, 0))}
    await ledger.put_usage(site, usage("1", *(slot("a", day * DAY, (0, 1), rows) for day in (0, 30, 31))), NOW)
    assert [(row["month"], row["allocated"]) for row in await ledger.usage(site, by="month")] == [
        ("1970-01", 2),
        ("1970-02", 1),
    ]
    assert [row["day"] for row in await ledger.usage(site, by="day")] == ["1970-01-01", "1970-01-31", "1970-02-01"]


WATERMARKS = [
    ("grows", (0, 100), (0, 200), 200),
    ("never falls within an epoch", (0, 200), (0, 100), 200),
    ("starts anew with a rebuild", (0, 200), (1, 100), 100),
    ("an older epoch does not move it", (1, 100), (0, 200), 100),
]


@pytest.mark.parametrize(("first", "second", "mark"), [row[1:] for row in WATERMARKS], ids=[row[0] for row in WATERMARKS])
async def test_watermark(ledger: Ledger, site: str, first: tuple[int, int], second: tuple[int, int], mark: int) -> None:
    for number, (epoch, at) in enumerate((first, second)):
        page = usage(f"{number}", slot("a", 0, (epoch, number), {}), watermark=at, rebuilt=(epoch, 0, HOUR) if epoch else None)
        await ledger.put_usage(site, page, NOW)
    assert await ledger.watermark(site) == mark


@pytest.mark.parametrize(("kind", "taken"), [("slurm", False), ("simulator", True)])
async def test_a_watermark_that_is_to_come_is_one_of_a_clock_of_its_own_alone(
    ledger: Ledger, cluster: str, kind: str, *, taken: bool
) -> None:
    """It would close every hour until then, and post corrections where they don't count for as long."""
    await publish_accounts(ledger, cluster, "a", scheduler=kind)
    await ledger.put_usage(cluster, usage("1", watermark=NOW - HOUR), NOW)
    await ledger.put_usage(cluster, usage("2", watermark=NOW + 300 * DAY), NOW)
    assert await ledger.watermark(cluster) == (NOW + 300 * DAY if taken else NOW - HOUR)


async def test_a_page_without_watermark_or_slots_keeps_it(ledger: Ledger, site: str) -> None:
    assert await ledger.watermark(site) is None
    await ledger.put_usage(site, usage("1", slot("a", 0, (3, 1), {}), watermark=100), NOW)
    await ledger.put_usage(site, usage("2", slot("a", 0, (3, 2), {})), NOW)
    await ledger.put_usage(site, usage("3", watermark=150), NOW)
    assert await ledger.watermark(site) == 150


async def test_has_use_looks_at_one_cluster_or_all(ledger: Ledger, site: str) -> None:
    account = f"acc-{site}"
    await ledger.put_usage(site, usage("1", slot(account, 0, (0, 1), {CPU: Amounts((1, 0, 0, 0))})), NOW)
    assert await ledger.has_use(account)
    assert await ledger.has_use(account, site)
    assert not await ledger.has_use(account, "another")
    assert not await ledger.has_use("another")


async def test_more_slots_than_one_statement_takes(ledger: Ledger, site: str) -> None:
    rows = {CPU: Amounts((1, 0, 0, 0))}
    await publish_accounts(ledger, site, *(f"a{number}" for number in range(50)))
    many = [slot(f"a{number}", hour * HOUR, (0, 1), rows) for number in range(50) for hour in range(50)]
    assert (await ledger.put_usage(site, usage("1", *many), NOW)).accepted == 2500
    assert (await ledger.put_usage(site, usage("2", *many), NOW)).dropped == 2500
    assert sum(found["cpu"] for found in (await ledger.totals(site)).values()) == 2500
