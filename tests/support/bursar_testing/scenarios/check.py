"""What a scenario expects, held against what came of it."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol

from bursar_domain.entries import Entry, EntryKind
from bursar_domain.ladder import Action
from bursar_domain.units import UNSCALED
from bursar_testing.scenarios.controlplane import ControlPlane
from bursar_testing.scenarios.model import BalanceRow, Between, EntryRow, Expectation, Scenario
from bursar_testing.scenarios.times import moment, shown


class Side(Protocol):
    """What is asked of a cluster."""

    def account_action(self, account: str) -> Action:
        """What the account is held to."""

    async def headroom(self, account: str, resource: str) -> int | str | None:
        """Unit-seconds that jobs may still use, `closed` or `open`."""

    def job_states(self) -> Mapping[str, str]:
        """Name -> Pending, Running, Done."""


async def check(scenario: Scenario, expect: Expectation, control: ControlPlane, clusters: Mapping[str, Side]) -> None:
    """AssertionError with every difference at once."""
    found = [
        *[words async for words in _balances(expect, control)],
        *[words async for words in _unfunded(expect, control)],
        *_actions(expect, control, clusters),
        *[words async for words in _headroom(expect, clusters)],
        *[words async for words in _entries(expect, control)],
        *_firings(expect, control),
        *[words async for words in _runs_out(expect, control)],
        *_jobs(expect, clusters),
    ]
    assert not found, f"{scenario.name} at {moment(expect.at)}: " + "; ".join(found)


async def _balances(expect: Expectation, control: ControlPlane) -> AsyncIterator[str]:
    for row in expect.balances:
        holding = control.holdings[row.allocation]
        here = await control.account(holding.cluster, holding.project)
        terms = here.books.terms[row.allocation]
        number = terms.index(expect.at) if row.window is None else row.window - 1
        second = max(expect.at, terms.windows[number].start)
        books = here.books.window(row.allocation, number, second)[row.resource]
        actual = {name: books.left if name == "available" else getattr(books, name) for name in row.figures()}
        for words in _differences(row, actual):
            yield words


def _differences(row: BalanceRow, actual: Mapping[str, int]) -> Iterable[str]:
    unit = UNSCALED.units(row.resource)
    for name, wanted in row.figures().items():
        if actual[name] != wanted:
            where = f"{row.allocation} {row.resource}" + (f" window {row.window}" if row.window else "")
            yield f"{where}: {name} is {shown(actual[name] // unit)}, not {shown(wanted // unit)}"


async def _unfunded(expect: Expectation, control: ControlPlane) -> AsyncIterator[str]:
    for project, hours in expect.unfunded.items():
        found: dict[str, int] = {}
        for cluster, account in control.owners():
            if account == project:
                for name, amount in (await control.account(cluster, account)).books.unfunded.items():
                    found[name] = found.get(name, 0) + amount
        wanted = {name: amount * UNSCALED.units(name) for name, amount in hours.items() if amount}
        if found != wanted:
            yield f"unfunded use of {project} is {found}, not {wanted}"


def _actions(expect: Expectation, control: ControlPlane, clusters: Mapping[str, Side]) -> Iterable[str]:
    for name, wanted in expect.actions.items():
        holding = control.holdings[name]
        actual = control.judgements[holding.cluster, holding.project].actions.get(name, Action.NONE)
        if actual != wanted:
            yield f"the action of {name} is {actual}, not {wanted}"
    for project, wanted in expect.accounts.items():
        for cluster, account in sorted(control.owners()):
            if account == project and (actual := clusters[cluster].account_action(account)) != wanted:
                yield f"account {project} on {cluster} is held to {actual}, not {wanted}"


async def _headroom(expect: Expectation, clusters: Mapping[str, Side]) -> AsyncIterator[str]:
    for project, resources in expect.headroom.items():
        for resource, wanted in resources.items():
            for name, cluster in clusters.items():
                actual = await cluster.headroom(project, resource)
                if actual is not None and not _is_within(actual, wanted, UNSCALED.units(resource)):
                    words = shown(actual // UNSCALED.units(resource)) if isinstance(actual, int) else actual
                    yield f"head-room of {project} on {name} is {words} {resource} hours, not {wanted!r}"


def _is_within(actual: int | str, wanted: int | Between | str, unit: int) -> bool:
    if isinstance(wanted, str) or isinstance(actual, str):
        return actual == wanted
    low, high = (wanted.at_least, wanted.at_most) if isinstance(wanted, Between) else (wanted, wanted)
    return low * unit <= actual <= high * unit


async def _entries(expect: Expectation, control: ControlPlane) -> AsyncIterator[str]:
    booked = await control.all_entries()
    for kind, rows in expect.entries.items():
        actual = [_entry(control, entry) for entry in booked if entry.kind == EntryKind(kind)]
        wanted = [_wanted(row) for row in rows]
        same = len(actual) == len(wanted) and all(_matches(a, w) for a, w in zip(actual, wanted, strict=True))
        if not same:
            yield f"{kind} entries are {actual}, not {wanted}"


Facts = dict[str, object]


def _entry(control: ControlPlane, entry: Entry) -> Facts:
    amounts = dict(entry.amounts)
    for row in entry.rows:
        amounts[row.resource] = amounts.get(row.resource, 0) + sum(row.allocated) - sum(row.refunded)
    spans = control.holdings[entry.uid].rules().windows if entry.uid else ()
    number = next((index for index, span in enumerate(spans, 1) if span.start == entry.window), None)
    hours = {name: shown(amount // UNSCALED.units(name)) for name, amount in amounts.items() if amount}
    return {"allocation": entry.uid, "hours": hours, "at": moment(entry.at), "window": number}


def _wanted(row: EntryRow) -> Facts:
    found: Facts = {"allocation": row.allocation, "hours": {name: shown(amount) for name, amount in row.hours.items()}}
    if row.at is not None:
        found["at"] = moment(row.at)
    return found if row.window is None else found | {"window": row.window}


def _matches(actual: Facts, wanted: Facts) -> bool:
    return all(actual[name] == value for name, value in wanted.items())


def _firings(expect: Expectation, control: ControlPlane) -> Iterable[str]:
    if expect.firings is None:
        return
    wanted = [(row.allocation, row.rule, row.direction) for row in expect.firings]
    actual = [(item.uid, item.rule, item.direction) for item in control.firings]
    if actual != wanted:
        yield f"thresholds fired {actual}, not {wanted}"


async def _runs_out(expect: Expectation, control: ControlPlane) -> AsyncIterator[str]:
    for name, wanted in expect.runs_out.items():
        actual = await control.runs_out(name)
        if actual != wanted:
            words = ["never" if at is None else moment(at) for at in (actual, wanted)]
            yield f"{name} runs out {words[0]}, not {words[1]}"


def _jobs(expect: Expectation, clusters: Mapping[str, Side]) -> Iterable[str]:
    found: dict[str, str] = {}
    for cluster in clusters.values():
        found |= cluster.job_states()
    for name, wanted in expect.jobs.items():
        if found and found.get(name) != wanted:
            yield f"job {name} is {found.get(name)}, not {wanted}"
