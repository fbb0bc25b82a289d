"""Tables of the grant decisions: one row of the protocol at a time."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_crds.quotapool import MAX_INTENTS
from bursar_domain.room import Pool, room
from bursar_operator.domain import batch, grant, hours, poolstatus, standing
from bursar_operator.domain.batch import PATIENCE_SECONDS, Request, Tree
from bursar_operator.domain.grant import Kind, Operation
from bursar_operator.domain.rows import EDITED, Book, GrantState, Intent, Row
from bursar_operator.domain.shape import Shape
from bursar_operator.waitlist import Waiting, Waitlist
from bursar_testing.grantrows import END, LOWERED, NOW, SETTLED, START, book, facts, row

EMPTY = replace(SETTLED, granted={"cpu": 0})
RAISE = Intent("u", "n", "a", 8, {"cpu": 10}, {"cpu": 20}, {})


def nobody(uid: str) -> Row | None:
    return None


def tree(*books: Book) -> Tree:
    parents = {item.name: None if item.name == "year" else "year" for item in books}
    return Tree(Shape.of("year", parents), {item.name: item for item in books})


# the allocation's side


def test_a_raise_is_committed_under_a_new_revision() -> None:
    after = grant.settle(facts(row(20), intents={"year": RAISE}))
    assert after == GrantState({"cpu": 20}, {"cpu": 20}, 4, 8, 8, "year", 1)


@pytest.mark.parametrize(
    ("of", "changes"),
    [
        (row(20, deleting=True), {}),
        (row(10), {}),
        (row(20, replace(SETTLED, charged={"cpu": 11})), {}),
        (row(20), {"path": ()}),
        (row(20), {"path": ("root", "year"), "intents": {"root": RAISE}, "stuck": True}),
        (row(20), {"path": ("root", "year"), "intents": {"root": replace(RAISE, id=9), "year": RAISE}}),
    ],
    ids=["deleting", "wanted no more", "starts from another charge", "no path", "stuck at the leaf", "two operations"],
)
def test_what_cannot_go_on_is_voided(of: Row, changes: dict[str, Any]) -> None:
    after = grant.settle(facts(of, **({"intents": {"year": RAISE}} | changes)))
    assert after.sequence >= 8
    assert after.charge_sequence == 7
    assert after.charged == of.state.charged


@pytest.mark.parametrize(
    "changes",
    [{"path": ("root", "year"), "intents": {"root": RAISE}}, {"known": False, "intents": {"year": RAISE}}],
    ids=["the leaf has yet to open", "a pool's copy is not known"],
)
def test_what_may_still_go_on_waits(changes: dict[str, Any]) -> None:
    assert grant.settle(facts(row(20), **changes)) == row(20).state


def test_lowering_keeps_the_charge_and_restoring_needs_no_pool() -> None:
    lowered = grant.settle(facts(row(4)))
    assert (lowered.granted, lowered.charged, lowered.revision) == ({"cpu": 4}, {"cpu": 10}, 4)
    restored = grant.settle(facts(row(9, lowered), ledger=(4, {"cpu": 4})))
    assert (restored.granted, restored.charged, restored.revision) == ({"cpu": 9}, {"cpu": 10}, 5)


def test_each_resource_goes_its_own_way() -> None:
    state = replace(SETTLED, granted={"cpu": 10, "gpu": 4}, charged={"cpu": 10, "gpu": 4})
    of = row(state=state, asked={"cpu": 20, "gpu": 1})
    after = grant.settle(facts(of))
    assert after.granted == {"cpu": 10, "gpu": 1}
    (raised,) = grant.operations(facts(of, ack=0), after)
    assert (raised.kind, raised.to) == (Kind.RAISE, {"cpu": 20, "gpu": 4})


def test_deleting_closes_each_resource_by_name() -> None:
    after = grant.settle(facts(row(deleting=True)))
    assert after.granted == {"cpu": 0}


@pytest.mark.parametrize(
    ("changes", "repaired"),
    [
        ({"ledger": (5, {"cpu": 10})}, True),
        ({"ledger": (3, {"cpu": 12})}, True),
        ({"ledger": (2, {"cpu": 9})}, False),
        ({"ledger": (grant.TOMBSTONE, {})}, False),
        ({"row": row(state=replace(SETTLED, granted={"cpu": 11}))}, True),
    ],
    ids=["behind the ledger", "same revision, other value", "ahead of the ledger", "tombstone", "granted beyond charged"],
)
def test_a_hand_edit_is_repaired_above_the_ledger(changes: dict[str, Any], repaired: bool) -> None:
    after = grant.settle(facts(row(), **changes))
    assert (after.charge_sequence == EDITED) is repaired
    if repaired:
        assert after.revision > max(3, changes.get("ledger", (3, {}))[0])
        assert hours.at_least(after.charged, after.granted)


@pytest.mark.parametrize(
    ("of", "changes", "wanted"),
    [
        (row(20), {}, [(Kind.RAISE, {"cpu": 20}, {})]),
        (row(20, finalizer=False), {}, []),
        (row(20), {"intents": {"year": RAISE}}, []),
        (row(4, LOWERED), {}, [(Kind.RELEASE, {"cpu": 4}, {})]),
        (row(4, LOWERED), {"ack": 2}, []),
        (row(4, LOWERED), {"ledger": (2, {"cpu": 10}), "not_enforced": True}, []),
        (row(4, LOWERED), {"ack": 0, "not_enforced": True}, [(Kind.RELEASE, {"cpu": 4}, {})]),
        (row(4, LOWERED), {"used": {"cpu": 6}, "committed": {"cpu": 1}}, [(Kind.RELEASE, {"cpu": 7}, {})]),
        (row(4, LOWERED), {"used": {"cpu": 99}}, []),
        (row(deleting=True, state=EMPTY), {"used": {"cpu": 3}}, [(Kind.DELETE, {}, {"cpu": 3})]),
        (row(deleting=True, state=EMPTY), {"used": {"cpu": 30}}, [(Kind.DELETE, {}, {"cpu": 10})]),
        (row(deleting=True, state=EMPTY), {"committed": {"cpu": 3}}, [(Kind.RELEASE, {"cpu": 3}, {})]),
        (row(deleting=True, state=EMPTY), {"ack": 2}, []),
    ],
)  # fmt: skip
def test_what_is_opened(of: Row, changes: dict[str, Any], wanted: list[tuple[Kind, dict[str, int], dict[str, int]]]) -> None:
    found = grant.operations(facts(of, **changes), of.state)
    assert [(item.kind, item.to, item.spend) for item in found] == wanted
    assert all(item.from_ == of.state.charged for item in found)


@pytest.mark.parametrize(
    ("changes", "done"),
    [({}, True), ({"ack": 1}, False), ({"known": False}, False), ({"intents": {"year": RAISE}}, False)],
)
def test_the_finalizer_goes_last(changes: dict[str, Any], done: bool) -> None:
    of = row(deleting=True, state=replace(SETTLED, granted={"cpu": 0}, charged={}))
    assert grant.finished(facts(of, **changes), of.state) is done
    assert not grant.finished(facts(row(), **changes), SETTLED)


@pytest.mark.parametrize(
    ("after_end", "complete", "expected"),
    [(0, None, 6), (0, -1, 10), (0, 0, 6), (-1, None, 10)],
    ids=["over", "usage is not in yet", "usage is in", "not over"],
)
def test_unused_hours_go_back_after_the_end(after_end: int, complete: int | None, expected: int) -> None:
    of = row()
    now = END + timedelta(days=after_end)
    is_over = grant.over(of, now, None if complete is None else END + timedelta(days=complete))
    assert grant.want(of, {"cpu": 5}, {"cpu": 1}, is_over=is_over) == {"cpu": expected}


# the pool's side


@pytest.mark.parametrize(
    ("state", "granted", "spent"),
    [
        (replace(SETTLED, sequence=8, charge_sequence=8, charged={"cpu": 20}), 20, 0),
        (replace(SETTLED, sequence=8), 10, 0),
        (replace(SETTLED, sequence=8, charge_sequence=EDITED), 20, 0),
    ],
    ids=["committed", "voided", "edited"],
)
def test_closing_gives_back_what_the_allocation_decided(state: GrantState, granted: int, spent: int) -> None:
    held = book(granted=20, intents={"u": RAISE})
    made = batch.close(held, tree(held), {"u": row(state=state)}.get, {})
    assert (made.book.granted, made.closed) == ({"cpu": granted}, ("u",))
    assert dict(made.book.intents) == {}


def test_closing_a_deletion_keeps_what_was_used() -> None:
    intent = Intent("u", "n", "a", 8, {"cpu": 10}, {}, {"cpu": 3})
    held = book(granted=10, intents={"u": intent})
    gone = replace(SETTLED, sequence=8, charge_sequence=8, charged={})
    made = batch.close(held, tree(held), {"u": row(state=gone)}.get, {})
    assert (made.book.granted, made.book.spent) == ({"cpu": 3}, {"cpu": 3})


def test_a_gone_allocation_is_closed_only_when_that_is_proven() -> None:
    held = book(granted=20, intents={"u": RAISE})
    assert batch.close(held, tree(held), nobody, {}).closed == ()
    made = batch.close(held, tree(held), nobody, {"u": {"cpu": 4}})
    assert (made.book.granted, made.book.spent) == ({"cpu": 4}, {"cpu": 4})


def test_the_root_closes_after_the_leaf() -> None:
    root, leaf = book(granted=20, intents={"u": RAISE}), book("leaf", granted=20, intents={"u": RAISE})
    done = {"u": row(state=replace(SETTLED, sequence=8, charge_sequence=8, charged={"cpu": 20}))}
    assert batch.close(root, tree(root, leaf), done.get, {}).closed == ()
    assert batch.close(root, Tree(Shape.of("year", {"year": None, "leaf": "year"}), {"year": root}), done.get, {}).closed == ()
    assert batch.close(root, tree(root, replace(leaf, intents={})), done.get, {}).closed == ("u",)


def request(uid: str, cpu: int, since: float) -> Request:
    new = row(cpu, GrantState(), uid=uid, name=uid)
    return Request(new, (Operation(Kind.RAISE, {}, {"cpu": cpu}),), since)


def opened(requests: list[Request], now: float, limit: int = 100) -> tuple[str, ...]:
    rows = {item.row.uid: item.row for item in requests}
    held = book(limit=limit, granted=40)
    made = batch.open_root(held, tree(held), requests, rows.get, lambda item: "year", now)
    assert hours.at_least(held.pool.limit, made.book.granted or {})
    return made.opened


def test_first_come_first_served() -> None:
    assert opened([request("late", 50, 20.0), request("early", 50, 10.0)], now=30.0) == ("early",)


def test_small_ones_pass_a_large_one_only_for_ten_minutes() -> None:
    waiting = [request("large", 70, 0.0), request("small", 30, 100.0)]
    assert opened(waiting, now=PATIENCE_SECONDS - 1) == ("small",)
    assert opened(waiting, now=PATIENCE_SECONDS) == ()


def test_what_can_never_fit_keeps_nobody_waiting() -> None:
    assert opened([request("absurd", 1000, 0.0), request("small", 30, 100.0)], now=10 * PATIENCE_SECONDS) == ("small",)


def test_what_waits_for_one_pool_keeps_nothing_from_the_one_beside_it() -> None:
    root, full, empty = book(limit=100, granted=50), book("full", limit=50, granted=50), book("empty", limit=50, granted=0)
    waits, comes = request("waits", 40, 0.0), request("comes", 10, 100.0)
    rows = {"waits": waits.row, "comes": comes.row}
    leaf_of = {"waits": "full", "comes": "empty"}
    late = 10 * PATIENCE_SECONDS
    made = batch.open_root(root, tree(root, full, empty), [waits, comes], rows.get, lambda item: leaf_of[item.uid], late)
    assert made.opened == ("comes",)
    assert "waits" in made.refused


def test_what_was_torn_away_leaves_half_of_the_operations_to_grants() -> None:
    held = book(limit=10_000, granted=5_000)
    torn = [batch.Gone(f"t{number}", "n", f"t{number}", "year", {"cpu": 1}) for number in range(MAX_INTENTS)]
    made = batch.write("year", tree(held), [request("u", 5, 0.0)], {"u": request("u", 5, 0.0).row}.get, _year, {}, 0.0, torn)
    assert made is not None
    later = batch.write("year", tree(made.book), [], nobody, _year, {}, 0.0, torn)
    assert later is not None
    assert len(later.book.intents) == MAX_INTENTS // 2


def _year(of: Row) -> str:
    return "year"


def test_those_that_wait_longest_come_first_and_only_so_many_of_them() -> None:
    waitlist = Waitlist()
    for number in range(200):
        waitlist.put(Waiting(f"u{number}", ("n", f"u{number}"), "year", 1, float(-number), ()))
    for waiting in waitlist.untried():
        waitlist.refuse(waiting, ())
    assert [item.uid for item in waitlist.seniors(PATIENCE_SECONDS)][:3] == ["u199", "u198", "u197"]
    assert waitlist.untried() == []
    waitlist.more_room()
    assert [item.uid for item in waitlist.untried()][:3] == ["u199", "u198", "u197"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (1, "1st"),
        (2, "2nd"),
        (3, "3rd"),
        (11, "11th"),
        (12, "12th"),
        (20, "20th"),
        (21, "21st"),
        (119, "110th"),
        (4_321, "4,300th"),
    ],
)
def test_a_place_is_exact_as_long_as_the_queue_is_short(number: int, words: str) -> None:
    assert standing.ordinal(standing.about(number)) == words


def test_a_pool_has_a_bounded_number_of_open_operations() -> None:
    many = [request(f"u{number}", 1, 0.0) for number in range(MAX_INTENTS + 50)]
    assert len(opened(many, now=1.0, limit=10_000)) == MAX_INTENTS


def test_an_operation_is_numbered_above_what_the_allocation_has_decided() -> None:
    item = request("u", 5, 0.0)
    item = replace(item, row=replace(item.row, state=GrantState(sequence=90)))
    held = book(sequence=2)
    made = batch.open_root(held, tree(held), [item], {"u": item.row}.get, lambda _: "year", 0.0)
    assert made.book.intents["u"].id == 91


AMOUNT = st.integers(0, 12)


@given(st.lists(st.tuples(AMOUNT, AMOUNT), max_size=12), st.integers(0, 30), st.integers(0, 30))
def test_a_batch_never_passes_the_limit_and_refuses_with_the_webhooks_words(
    asked: list[tuple[int, int]], limit: int, other: int
) -> None:
    root = replace(book(granted=0), pool=Pool("year", "alpha", None, START, END, {"cpu": limit, "gpu": other}, {}))
    requests = []
    for number, (cpu, gpu) in enumerate(asked):
        new = row(1, GrantState(), uid=f"u{number}", name=f"u{number}", asked={"cpu": cpu, "gpu": gpu})
        requests.append(Request(new, (Operation(Kind.RAISE, {}, {"cpu": cpu, "gpu": gpu}),), float(number)))
    rows = {item.row.uid: item.row for item in requests}
    made = batch.open_root(root, tree(root), requests, rows.get, lambda item: "year", 0.0)
    total = hours.total([intent.to for intent in made.book.intents.values()])
    assert hours.at_least(root.pool.limit, total)
    assert set(made.opened) | set(made.refused) == set(rows)
    for uid in made.refused:
        assert room([made.book.pool], rows[uid].asked, {})


# counting


@pytest.mark.parametrize(
    ("present", "charged", "spent", "below", "may_lower", "expected"),
    [
        (10, 15, 0, 0, False, 15),
        (10, 5, 0, 0, False, 10),
        (10, 5, 0, 0, True, 5),
        (10, 5, 2, 0, True, 7),
        (10, 5, 0, 8, True, 8),
    ],
    ids=["rises at once", "does not fall", "falls when all is known", "keeps what was spent", "not below the leaves"],
)
def test_a_recount(present: int, charged: int, spent: int, below: int, may_lower: bool, expected: int) -> None:
    before = book(granted=present, spent={"cpu": spent})
    after = poolstatus.recounted(before, {"cpu": charged}, [{"cpu": below}], may_lower=may_lower)
    assert after.granted == {"cpu": expected}


def test_a_pool_without_a_term_grants_nothing_before_it_is_counted() -> None:
    fresh = replace(book(), epoch=None)
    claimed = poolstatus.claimed(fresh, 4)
    assert (claimed.epoch, claimed.granted) == (4, None)
    assert "granted" not in poolstatus.status(claimed, None, {"granted": [{"name": "cpu", "hours": 1}]}, NOW)
    made = batch.write("year", tree(claimed), [request("u", 5, 0.0)], nobody, lambda _: "year", {}, 0.0)
    assert made is not None
    assert made.opened == ()


def test_an_overcommitted_pool_says_so() -> None:
    status = poolstatus.status(book(limit=5), None, {}, NOW)
    over = next(item for item in status["conditions"] if item["type"] == "Overcommitted")
    assert (over["status"], over["reason"]) == ("True", "Overcommitted")
    assert over["message"].startswith("5 cpu hours more than the pool has are granted")
    assert status["grantedPercent"] == 200
