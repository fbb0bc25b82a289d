"""Old use kept by days: no sum changes, boundaries keep their days, later versions are refused."""

from collections.abc import Sequence
from random import Random
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.units import HOUR, QUARTER
from bursar_ledger import Ledger
from bursar_testing.wires import publish_accounts, slot, usage

NOW = 2_000_000_000
DAY = 86_400
CPU = RowKey("alice", "cpu")
FOUR = {CPU: Amounts((1, 2, 3, 4), (0, 1, 0, 0)), RowKey("bob", "gpu"): Amounts((5, 0, 0, 5))}


@pytest.fixture
async def ledger(own: Ledger) -> Ledger:
    """One of the test's own: rolling is about every cluster."""
    return own


async def filled(ledger: Ledger, cluster: str, days: int, *accounts: str, watermark: int = NOW) -> None:
    """Every third hour of some days."""
    slots = [slot(account, at, (1, 1), FOUR) for account in accounts for at in range(0, days * DAY, 3 * HOUR)]
    await ledger.put_usage(cluster, usage("1", *slots, watermark=watermark), NOW)


async def rows(ledger: Ledger, cluster: str) -> dict[str, int]:
    """Account -> how many hours of it are told apart."""
    found: dict[str, set[str]] = {}
    for row in await ledger.usage(cluster, by="hour"):
        found.setdefault(str(row["account"]), set()).add(str(row["hour"]))
    return {account: len(hours) for account, hours in found.items()}


async def test_whole_days_become_one_row_and_no_sum_changes(ledger: Ledger, site: str) -> None:
    await filled(ledger, site, 4, "a", "b")
    before = [await ledger.usage(site, by=by) for by in ("account", "user", "month", "day")]
    assert await ledger.roll(3 * DAY + HOUR, {}) == 6
    assert await rows(ledger, site) == {"a": 3 + 8, "b": 3 + 8}
    assert [await ledger.usage(site, by=by) for by in ("account", "user", "month", "day")] == before
    assert (await ledger.quarters(site, "a"))["cpu"][:3] == [(0, 72), (DAY, 72), (2 * DAY, 72)]
    assert await ledger.roll(3 * DAY + HOUR, {}) == 0


async def test_a_day_with_a_boundary_inside_stays(ledger: Ledger, site: str) -> None:
    """One at midnight cuts nothing."""
    await filled(ledger, site, 3, "a", "b")
    boundaries = [DAY, DAY + 5 * HOUR + QUARTER]
    before = await ledger.spans(site, "a", boundaries)
    assert await ledger.roll(3 * DAY, {(site, "a"): boundaries}) == 2 + 3
    assert await rows(ledger, site) == {"a": 2 + 8, "b": 3}
    assert await ledger.spans(site, "a", boundaries) == before


async def test_only_closed_days(ledger: Ledger, site: str) -> None:
    await filled(ledger, site, 4, "a", watermark=2 * DAY + 48 * HOUR - 1)
    assert await ledger.roll(NOW, {}) == 1


async def test_later_versions_of_what_is_kept_by_days_are_refused(ledger: Ledger, site: str) -> None:
    await filled(ledger, site, 2, "a")
    await ledger.roll(DAY, {})
    late = [slot("a", hour * HOUR, (1, 2), {CPU: Amounts((9, 0, 0, 0))}) for hour in (0, 5, 24)]
    receipt = await ledger.put_usage(site, usage("2", *late), NOW)
    assert [(item.hour, item.reason) for item in receipt.refused] == [(0, "TooOld"), (5 * HOUR, "TooOld")]
    assert receipt.accepted == 1


async def test_a_rebuild_leaves_what_is_kept_by_days(ledger: Ledger, site: str) -> None:
    await filled(ledger, site, 2, "a")
    await ledger.roll(DAY, {})
    await ledger.put_usage(site, usage("2", slot("a", 3 * HOUR, (2, 1), FOUR), rebuilt=(2, 0, 2 * DAY)), NOW)
    assert await ledger.quarters(site, "a") == {"cpu": [(0, 72)], "gpu": [(0, 80)]}


HOURS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 4 * 24 - 1), st.integers(1, 9)), max_size=30)
BOUNDARIES = st.lists(st.integers(0, 4 * 96), max_size=4)


@given(hours=HOURS, boundaries=BOUNDARIES, seed=st.integers(0, 2**32))
@profile(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_sums_between_boundaries_never_change(
    ledger: Ledger, hours: Sequence[tuple[str, int, int]], boundaries: list[int], seed: int
) -> None:
    """Rolled at once or bit by bit; brute force over the quarters is the reference."""
    cluster, random = f"c{uuid4().hex[:12]}", Random(seed)
    await publish_accounts(ledger, cluster, "a", "b")
    edges = [at * QUARTER for at in boundaries]
    keep = {(cluster, "a"): edges, (cluster, "b"): edges}
    slots = [slot(account, hour * HOUR, (1, 1), {CPU: Amounts((0, n, n, 1))}) for account, hour, n in hours]
    cut = random.randint(0, len(slots))
    await ledger.put_usage(cluster, usage("1", *slots[:cut], watermark=4 * DAY), NOW)
    await ledger.put_usage(cluster, usage("2", *slots[cut:], watermark=NOW), NOW)
    quarters = {account: await ledger.quarters(cluster, account) for account in "ab"}
    for before in sorted(random.randint(0, 5 * DAY) for _ in range(random.randint(1, 3))):
        await ledger.roll(before, keep)
    for account in "ab":
        assert amounts(await ledger.spans(cluster, account, edges), edges) == amounts(quarters[account], edges)


def amounts(use: dict[str, list[tuple[int, int]]], edges: Sequence[int]) -> dict[tuple[str, int], int]:
    """(resource, edge before it) -> unit-seconds; -1 where no edge is before it, since the day is the finest that is left."""
    found: dict[tuple[str, int], int] = {}
    for resource, items in use.items():
        for at, amount in items:
            key = (resource, max((edge for edge in edges if edge <= at), default=-1))
            found[key] = found.get(key, 0) + amount
    return found
