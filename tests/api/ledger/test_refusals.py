"""Refusals: a slot that can't be true is left out with its reason, the rest of the report counts."""

import pytest

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.units import HOUR, QUARTER
from bursar_domain.wire import MOST_FACTOR, Refused, SlotReport
from bursar_ledger import Ledger
from bursar_testing.wires import publish_accounts, slot, usage

CPU = RowKey("alice", "cpu")
BOB = RowKey("bob", "cpu")
NOW = 1_000 * HOUR + 1_800
CAPACITY = 64
FULL = CAPACITY * QUARTER
FINE = {CPU: Amounts((FULL, 0, 0, FULL), (FULL, 0, 0, 0))}


def twice(report: SlotReport) -> SlotReport:
    """Every row two times."""
    return report.model_copy(update={"rows": report.rows * 2})


REFUSED = [
    ("inside an hour", slot("a", 17, (0, 1), {}), "BadHour"),
    ("before 1970", slot("a", -HOUR, (0, 1), {}), "BadHour"),
    ("in a thousand years", slot("a", 2**70 * HOUR, (0, 1), {}), "Future"),
    ("the hour after the next", slot("a", 1_002 * HOUR, (0, 1), FINE), "Future"),
    ("nobody's", slot("stranger", 0, (0, 1), FINE), "UnknownAccount"),
    ("a row twice", twice(slot("a", 0, (0, 1), FINE)), "DuplicateRow"),
    ("negative", slot("a", 0, (0, 1), {CPU: Amounts((0, -1, 0, 0))}), "Negative"),
    ("refund below zero", slot("a", 0, (0, 1), {CPU: Amounts((1, 0, 0, 0), (-1, 0, 0, 0))}), "Negative"),
    ("refund over use", slot("a", 0, (0, 1), {CPU: Amounts((1, 0, 0, 0), (2, 0, 0, 0))}), "Negative"),
    ("more than any machine", slot("a", 0, (0, 1), {CPU: Amounts((2**44 + 1, 0, 0, 0))}), "Overflow"),
    ("more than 64 bits", slot("a", 0, (0, 1), {CPU: Amounts((0, 0, 0, 2**64))}), "Overflow"),
    ("one over what is installed", slot("a", 0, (0, 1), {CPU: Amounts((0, FULL + 1, 0, 0))}), "Absurd"),
    (
        "together over what is installed",
        slot("a", 0, (0, 1), {CPU: Amounts((0, FULL, 0, 0)), BOB: Amounts((0, 1, 0, 0))}),
        "Absurd",
    ),
]


@pytest.mark.parametrize(("wrong", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_one_by_one_with_the_reason(ledger: Ledger, cluster: str, wrong: SlotReport, reason: str) -> None:
    await publish_accounts(ledger, cluster, "a", capacity=CAPACITY)
    good = slot("a", 10 * HOUR, (0, 1), FINE)
    receipt = await ledger.put_usage(cluster, usage("1", wrong, good, watermark=9), NOW)
    assert receipt.refused == (Refused(account=wrong.account, hour=wrong.hour, reason=reason),)
    assert (receipt.accepted, receipt.dropped) == (1, 0)
    assert await ledger.quarters(cluster, "a") == {"cpu": [(11 * HOUR - QUARTER, FULL)]}
    assert await ledger.watermark(cluster) == 9
    assert (await ledger.put_usage(cluster, usage("1", wrong, good, watermark=9), NOW)).refused == receipt.refused


ALLOWED = [
    ("the hour that runs", slot("a", 1_000 * HOUR, (0, 1), FINE)),
    (
        "what is not installed here is not counted by its size",
        slot("a", 0, (0, 1), {RowKey("alice", "gpu"): Amounts((2**44, 0, 0, 0))}),
    ),
    ("all of it, all the time", slot("a", 0, (0, 1), {CPU: Amounts((FULL,) * 4, (FULL,) * 4)})),
]


@pytest.mark.parametrize("right", [row[1] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
async def test_what_may_be_true_is_taken(ledger: Ledger, cluster: str, right: SlotReport) -> None:
    await publish_accounts(ledger, cluster, "a", capacity=CAPACITY)
    receipt = await ledger.put_usage(cluster, usage("1", right), NOW)
    assert (receipt.accepted, receipt.refused) == (1, ())


@pytest.mark.parametrize(
    ("factor", "amount", "refused"),
    [
        (2500, FULL * 5 // 2, ()),
        (2500, FULL * 5 // 2 + 1, ("Absurd",)),
        (1000, FULL + 1, ("Absurd",)),
        (0, FULL, ()),  # a site where everything is free or cheap still has what it has
        (MOST_FACTOR, FULL * 1000, ()),
    ],
)
async def test_a_cluster_may_be_charged_for_its_size_times_the_largest_usage_factor(
    ledger: Ledger, cluster: str, factor: int, amount: int, refused: tuple[str, ...]
) -> None:
    await publish_accounts(ledger, cluster, "a", capacity=CAPACITY)
    report = usage("1", slot("a", 0, (0, 1), {CPU: Amounts((0, amount, 0, 0))}))
    receipt = await ledger.put_usage(cluster, report.model_copy(update={"largest_factor_thousandths": factor}), NOW)
    assert tuple(item.reason for item in receipt.refused) == refused


@pytest.mark.parametrize(("early", "refused"), [(300, 0), (301, 1)])
async def test_a_clock_may_be_five_minutes_off(ledger: Ledger, cluster: str, early: int, refused: int) -> None:
    await publish_accounts(ledger, cluster, "a", capacity=CAPACITY)
    receipt = await ledger.put_usage(cluster, usage("1", slot("a", 1_001 * HOUR, (0, 1), FINE)), 1_001 * HOUR - early)
    assert len(receipt.refused) == refused


async def test_a_refused_version_leaves_the_one_that_is_stored(ledger: Ledger, cluster: str) -> None:
    await publish_accounts(ledger, cluster, "a", capacity=CAPACITY)
    await ledger.put_usage(cluster, usage("1", slot("a", 0, (0, 1), FINE)), NOW)
    await ledger.put_usage(cluster, usage("2", slot("a", 0, (0, 2), {CPU: Amounts((-1, 0, 0, 0))})), NOW)
    assert await ledger.totals(cluster) == {"a": {"cpu": 2 * FULL}}


async def test_an_account_of_another_cluster_is_unknown(ledger: Ledger, cluster: str) -> None:
    await publish_accounts(ledger, f"{cluster}x", "a")
    receipt = await ledger.put_usage(cluster, usage("1", slot("a", 0, (0, 1), FINE)), NOW)
    assert [item.reason for item in receipt.refused] == ["UnknownAccount"]
