"""One account in one snapshot: terms as published, use between their boundaries, clocks, the agent's last look."""

from bursar_domain import projection
from bursar_domain.fold import cuts
from bursar_domain.terms import simple
from bursar_domain.units import HOUR, QUARTER
from bursar_domain.wire import AccountState, CorrectionEntry
from bursar_ledger import Ledger
from bursar_testing.books import account, at, publish, published, report, used
from bursar_testing.wires import settings

START, NOW = at("2026-01-01"), at("2026-02-01")


async def test_an_account_that_nobody_knows(ledger: Ledger, cluster: str) -> None:
    assert await ledger.account_entry(cluster, "none") is None
    read = await ledger.account_reading(cluster, "none")
    assert (read.terms, read.use, read.watermark, read.scheduler_time, read.state) == ((), {}, None, None, None)


async def test_everything_of_one_account_and_nothing_of_another(ledger: Ledger, cluster: str) -> None:
    first = simple(f"{cluster}-1", START, START + HOUR + QUARTER, {"cpu": 50 * HOUR})
    second = simple(f"{cluster}-2", START, at("2027-01-01"), {"cpu": 90 * HOUR, "gpu": HOUR}, after_end_seconds=HOUR)
    correction = CorrectionEntry(resource="cpu", quarter=START + QUARTER, amount=-5, at=START + 9 * HOUR)
    entry = account("mine", published(first, "mine", "old"), published(second, "mine", "new"), corrections=[correction])
    await publish(ledger, settings(cluster), [entry, account("other")])
    slots = [used("mine", START, {"a": 4, "b": 8}), used("mine", START + HOUR, {"a": 4}), used("other", START, {"c": 1})]
    state = AccountState(account="mine", state="Enforced", committed={"cpu": 7})
    await report(ledger, cluster, slots, NOW, accounts=(state,))

    assert await ledger.account_entry(cluster, "mine") == entry
    read = await ledger.account_reading(cluster, "mine")
    assert list(read.terms) == [first, second]
    assert read.names == {first.uid: "old", second.uid: "new"}
    assert [(c.quarter, c.amount) for c in read.corrections] == [(START + QUARTER, -5)]
    assert (read.watermark, read.scheduler_time, read.state) == (NOW, NOW, state)
    edges = sorted({*cuts(read.terms, read.corrections), projection.since(read.terms, "cpu", NOW) or 0})
    assert read.use == await ledger.spans(cluster, "mine", edges)
    # Cut where the correction was, and where the first one ends: 5 quarters of 12 and 4 hours, then the other three.
    assert read.use["cpu"] == [
        (START, 3 * HOUR),
        (START + QUARTER, 3 * HOUR),
        (START + 2 * QUARTER, 7 * HOUR),
        (START + HOUR + QUARTER, 3 * HOUR),
    ]


async def test_use_is_cut_where_somebody_asks(ledger: Ledger, cluster: str) -> None:
    terms = simple(f"{cluster}-1", START, at("2027-01-01"), {"cpu": 50 * HOUR})
    await publish(ledger, settings(cluster), [account("mine", published(terms, "mine", "main"))])
    await report(ledger, cluster, [used("mine", START + HOUR, {"a": 4})], START + 3 * HOUR)
    read = await ledger.account_reading(cluster, "mine", [START + HOUR + QUARTER])
    assert read.use == {"cpu": [(START, HOUR), (START + HOUR + QUARTER, 3 * HOUR)]}


async def test_use_of_what_the_cluster_does_not_list_is_summed_too(ledger: Ledger, cluster: str) -> None:
    await publish(ledger, settings(cluster), [account("mine")])
    slots = [
        used("mine", START, {"a": 4}),
        used("mine", START + 5 * HOUR, {"a": 8}, "fpga"),
        used("mine", START + HOUR, {"a": 1}),
    ]
    await report(ledger, cluster, slots, START + 8 * HOUR)
    expect = {"cpu": [(START, 5 * HOUR)], "fpga": [(START + 4 * HOUR, 8 * HOUR)]}
    assert await ledger.spans(cluster, "mine", [START, START + 4 * HOUR]) == expect
