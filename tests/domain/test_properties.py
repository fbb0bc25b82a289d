"""The properties of the books over thousands of cases each, against oracles written from the design's sentences."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_domain.buckets import Amounts, JobUse, RowKey, SlotKey, slots_of
from bursar_domain.closing import Carry, Subject, closings
from bursar_domain.entries import EntryKind
from bursar_domain.fold import AccountBooks, Correction, fold
from bursar_domain.ladder import Action, Rule, Standing, in_force
from bursar_domain.terms import Terms
from bursar_domain.units import HOUR, QUARTER
from bursar_ledger import slots
from bursar_ledger.slots import Content
from bursar_testing.bookcases import ACCOUNTS, LAST_QUARTER, USE, as_use
from bursar_testing.entrycases import Told, accounts, with_more
from bursar_testing.wires import slot

CASES = settings(max_examples=2000, deadline=None)
NOW = 10**9
NAMES = ("physics", "botany")

JOB = st.builds(
    lambda account, user, start, seconds, held, factor: JobUse(
        "1", account, user, start, start + seconds, held, "RUNNING", factor, running=True
    ),
    account=st.sampled_from(NAMES),
    user=st.sampled_from(["alice", "bob"]),
    start=st.integers(0, 3 * HOUR),
    seconds=st.integers(0, 2 * HOUR),
    held=st.dictionaries(st.sampled_from(["cpu", "memory"]), st.integers(0, 300), max_size=2),
    factor=st.sampled_from([1000, 1000, 0, 250, 333, 2000]),
)


def next_read(jobs: Sequence[JobUse], new: Sequence[JobUse], dice: Random) -> list[JobUse]:
    """What may become of records until the next read: they run on, end, fail with their node, are put right or vanish."""
    found = list(new)
    for job in jobs:
        fate = dice.randrange(6)
        if fate == 0:
            found.append(replace(job, end=job.end + dice.randrange(HOUR)))
        elif fate == 1:
            found.append(replace(job, state="NODE_FAIL", running=False))
        elif fate == 2:
            found.append(replace(job, end=max(job.start, job.end - dice.randrange(HOUR)), state="COMPLETED", running=False))
        elif fate != 3:
            found.append(job)
    return found


def changed(before: Mapping[SlotKey, object], after: Mapping[SlotKey, object]) -> list[SlotKey]:
    """Every slot from the first hour on in which something differs, those emptied since among them."""
    both = before.keys() | after.keys()
    first = min((key.hour for key in both if before.get(key) != after.get(key)), default=NOW)
    return [key for key in both if key.hour >= first]


@given(st.lists(st.lists(JOB, max_size=3), min_size=1, max_size=4), st.randoms(use_true_random=False))
@CASES
def test_the_total_of_the_buckets_is_the_sum_over_the_jobs(reads: list[list[JobUse]], dice: Random) -> None:
    """Whatever became of records between the reads; slots come in any order, in pages of any size, some of them twice."""
    jobs: list[JobUse] = []
    before: dict[SlotKey, dict[RowKey, Amounts]] = {}
    sent = []
    for seq, new in enumerate(reads):
        jobs = next_read(jobs, new, dice)
        after = slots_of(jobs)
        sent += [slot(key.account, key.hour, (1, seq), after.get(key, {})) for key in changed(before, after)]
        before = after
    sent += dice.sample(sent, len(sent) // 2)
    dice.shuffle(sent)
    stored: dict[SlotKey, Content] = {}
    standing = slots.Standing(accounts=NAMES)
    while sent:
        size = dice.randint(1, 5)
        page, sent = sent[:size], sent[size:]
        good, refused = slots.judge(page, standing, NOW)
        assert refused == []
        versions = {key: content.version for key, content in stored.items()}
        stored |= slots.news(slots.newest(good), versions, standing)
    assert totals(stored) == by_hand(jobs)


def totals(stored: Mapping[SlotKey, Content]) -> Counter[tuple[str, str, str, bool]]:
    """(account, user, resource, refunded) -> unit-seconds over all slots."""
    found: Counter[tuple[str, str, str, bool]] = Counter()
    for key, content in stored.items():
        for user, name, *quarters in content.rows:
            found[key.account, user, name, False] += sum(quarters[:4])
            found[key.account, user, name, True] += sum(quarters[4:])
    return +found


def by_hand(jobs: Sequence[JobUse]) -> Counter[tuple[str, str, str, bool]]:
    """Allocated x elapsed x usage factor, job by job."""
    found: Counter[tuple[str, str, str, bool]] = Counter()
    for job in jobs:
        for name, units in job.allocated.items():
            cost = units * (job.end - job.start) * job.factor_thousandths // 1000
            found[job.account, job.user, name, False] += cost
            found[job.account, job.user, name, True] += cost if job.state == "NODE_FAIL" else 0
    return +found


@given(accounts(), USE, USE)
@CASES
def test_what_entries_lay_out_conserves_and_nobody_pays_for_what_he_does_not_list(
    told: Told, cpu: dict[int, int], gpu: dict[int, int]
) -> None:
    """Charged and overdraft are the use of the seconds in which somebody lists the resource; unfunded is all the other."""
    terms = told.terms()
    use = {"cpu": cpu, "gpu": gpu}
    books = fold(terms, {name: list(amounts.items()) for name, amounts in use.items()})
    for name, amounts in use.items():
        listing = [item for item in terms if name in item.resources]
        funded = sum(amount for at, amount in amounts.items() if any(item.is_active(at) for item in listing))
        assert sum(books.booked(item.uid)[name] for item in listing) == funded
        assert books.unfunded.get(name, 0) == sum(amounts.values()) - funded
    assert all(set(books.booked(item.uid)) == item.resources for item in terms)


Cell = tuple[int, int]


def charges(books: AccountBooks) -> dict[tuple[str, int, str], Cell]:
    """(allocation, window, resource) -> used, overdraft."""
    found = {}
    for uid, item in books.terms.items():
        for number in range(len(item.windows)):
            for name, cell in books.window(uid, number).items():
                found[uid, number, name] = cell.used, cell.overdraft
    return found


def rooms(books: AccountBooks, until: int) -> dict[tuple[str, str, int], int]:
    """(allocation, resource, quarter) -> room in every quarter before a second."""
    return {
        (uid, name, at): cell.room
        for uid, item in books.terms.items()
        for at in range(item.start, min(until, item.open_until), QUARTER)
        for name, cell in books.current(uid, at).items()
    }


@given(accounts(), USE, st.integers(0, LAST_QUARTER), st.data())
@CASES
def test_a_later_entry_moves_no_charge_and_no_room_of_the_past(
    told: Told, use: dict[int, int], number: int, data: st.DataObject
) -> None:
    """A grant up or down, an adjustment, hours carried over or a deletion, posted in a quarter: all before it stays."""
    now = number * QUARTER
    past = {"cpu": [(at, amount) for at, amount in use.items() if at < now]}
    before, after = fold(told.terms(), past), fold(data.draw(with_more(told, now)).terms(), past)
    assert charges(after) == charges(before)
    assert rooms(after, now) == rooms(before, now)


@given(accounts(), USE, st.integers(1, LAST_QUARTER), st.data())
@CASES
def test_a_correction_moves_no_charge_of_one_that_is_over(
    told: Told, use: dict[int, int], number: int, data: st.DataObject
) -> None:
    """More is charged to whoever is there when it is posted; less comes back only to what is still active."""
    now, terms = number * QUARTER, told.terms()
    past = {at: amount for at, amount in use.items() if at < now}
    slot_at = data.draw(st.integers(0, number - 1)) * QUARTER
    by = data.draw(st.integers(-past.get(slot_at, 0), 5))
    truth = past | {slot_at: past.get(slot_at, 0) + by}
    before = charges(fold(terms, as_use(past)))
    after = charges(fold(terms, as_use(truth), [Correction("cpu", slot_at, by, now)] if by else []))
    for item in terms:
        for window in range(len(item.windows)):
            for name in item.resources:
                was, is_now = before[item.uid, window, name], after[item.uid, window, name]
                if not item.is_active(now) or window != item.index(now):
                    assert is_now == was
                assert (sum(is_now) - sum(was)) * by >= 0


@given(ACCOUNTS, USE, st.integers(0, LAST_QUARTER), st.integers(1, 20))
@CASES
def test_over_use_never_raises_a_later_window(terms: list[Terms], use: dict[int, int], number: int, extra: int) -> None:
    """Of the one allocation there is, at any second from its start to its end."""
    at = number * QUARTER
    more = use | {at: use.get(at, 0) + extra}
    for item in terms[:1]:
        fewer_books, more_books = fold([item], as_use(use)), fold([item], as_use(more))
        for window, span in enumerate(item.windows):
            for second in range(span.start, span.end, QUARTER):
                was, is_now = (books.window(item.uid, window, second)["cpu"] for books in (fewer_books, more_books))
                assert is_now.room <= was.room
                assert is_now.left <= was.left


CARRY = st.builds(Carry, percent=st.integers(0, 100), maximum_hours=st.none() | st.integers(0, 8))
MUCH = st.dictionaries(st.integers(0, LAST_QUARTER).map(lambda number: number * QUARTER), st.integers(0, 9 * HOUR), max_size=8)


@given(accounts(scale=HOUR, most=1), MUCH, CARRY, st.integers(0, LAST_QUARTER), st.integers(0, 20 * HOUR))
@CASES
def test_carried_hours_are_within_percent_maximum_and_what_was_left_and_more_use_never_raises_them(
    told: Told, use: dict[int, int], carry: Carry, number: int, extra: int
) -> None:
    """``left = granted + adjusted - max(0, used - carried in) - debt``; spread so that the next window still runs at 48 h."""
    item = spread(told.terms()[0])
    more = use | {number * QUARTER: use.get(number * QUARTER, 0) + extra}
    fewer, greater = (carried(item, carry, {at * SPREAD: amount for at, amount in uses.items()}) for uses in (use, more))
    assert all(amount <= fewer.get(key, 0) for key, amount in greater.items())


SPREAD = 400  # a quarter becomes a hundred hours


def spread(item: Terms) -> Terms:
    """The same with all times multiplied."""
    windows = tuple(
        replace(
            window,
            start=window.start * SPREAD,
            end=window.end * SPREAD,
            steps=tuple(replace(step, at=step.at * SPREAD) for step in window.steps),
        )
        for window in item.windows
    )
    return replace(item, windows=windows, open_until=item.open_until * SPREAD)


def carried(item: Terms, carry: Carry, use: Mapping[int, int]) -> dict[tuple[int, str], int]:
    """What each window but the last carries over, checked against the sentence."""
    books = fold([item], as_use(use))
    found: dict[tuple[int, str], int] = {}
    for number, window in enumerate(item.windows[:-1]):
        mark = window.end + 48 * HOUR
        for entry in closings(Subject("alpha", "a", "p", item.uid, carry), item, books, mark, ()):
            if entry.kind is EntryKind.CARRY_OVER and entry.window == window.end:
                assert entry.amounts
                found |= {(number, name): amount for name, amount in entry.amounts.items()}
        for name in item.resources:
            cell = books.window(item.uid, number)[name]
            left = cell.granted + cell.adjusted - max(0, cell.used + cell.overdraft - cell.carried) - cell.debt
            most = max(0, left * carry.percent // 100) // HOUR
            expect = most if carry.maximum_hours is None else min(most, carry.maximum_hours)
            assert found.get((number, name), 0) == expect * HOUR <= max(0, left)
    return found


@given(st.integers(1, 120), st.integers(0, 40), st.integers(1, 50), st.lists(st.integers(0, 3000), max_size=20), st.booleans())
@CASES
def test_thresholds_do_not_flap(percent: int, gap: int, room: int, figures: list[int], fired: bool) -> None:
    """On at the percent, off below the other, unmoved between; so it comes and goes by turns, never twice the same way."""
    clear = max(0, percent - gap)
    rule = Rule(percent, Action.HOLD, clear)
    before = frozenset({rule.key} if fired else ())
    for used in figures:
        after = in_force([rule], {"cpu": Standing(room, used)}, before)
        if used * 100 >= room * percent:
            assert after == {rule.key}
        elif used * 100 < room * clear:
            assert after == frozenset()
        else:
            assert after == before
        before = after
        assert in_force([rule], {"cpu": Standing(room, used)}, before) == before
