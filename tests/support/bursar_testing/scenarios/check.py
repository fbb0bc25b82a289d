"""What a scenario expects, held against what came of it."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol

from bursar_domain.entries import Entry, EntryKind
from bursar_domain.ladder import Action
from bursar_domain.units import MINUTE, UNSCALED
from bursar_testing.scenarios.controlplane import ControlPlane
from bursar_testing.scenarios.model import BalanceRow, Between, EntryRow, Expectation, Scenario
from bursar_testing.scenarios.times import moment, shown


class Side(Protocol):
    """What is asked of a cluster."""

    async def account_action(self, account: str) -> Action:
        """What the account is held to."""

    async def headroom(self, account: str, resource: str) -> int | str | None:
        """Unit-seconds that jobs may still use, `closed` or `open`."""

    async def job_states(self) -> Mapping[str, str]:
        """Name -> Pending, Running, Done."""

    def slack(self, account: str, resource: str) -> int:
        """How far figures may be off, in unit-seconds; nothing where everything happens at its second."""


Sides = Mapping[str, Side]


async def check(scenario: Scenario, expect: Expectation, control: ControlPlane, clusters: Sides) -> list[str]:
    """Every difference."""
    found = [
        *[words async for words in _balances(expect, control, clusters)],
        *[words async for words in _unfunded(expect, control, clusters)],
        *[words async for words in _actions(expect, control, clusters)],
        *[words async for words in _headroom(expect, clusters)],
        *[words async for words in _entries(scenario, expect, control, clusters)],
        *_firings(scenario, expect, control),
        *[words async for words in _runs_out(expect, control)],
        *[words async for words in _jobs(expect, clusters)],
    ]
    return [f"{scenario.name} at {moment(expect.at)}: {words}" for words in found]


async def _balances(expect: Expectation, control: ControlPlane, clusters: Sides) -> AsyncIterator[str]:
    for row in expect.balances:
        holding = control.holdings[row.allocation]
        here = await control.account(holding.cluster, holding.project)
        terms = here.books.terms[row.allocation]
        number = terms.index(expect.at) if row.window is None else row.window - 1
        second = max(expect.at, terms.windows[number].start)
        books = here.books.window(row.allocation, number, second)[row.resource]
        actual = {name: books.left if name == "available" else getattr(books, name) for name in row.figures()}
        for words in _differences(row, actual, clusters[holding.cluster].slack(holding.project, row.resource)):
            yield words


def _differences(row: BalanceRow, actual: Mapping[str, int], slack: int) -> Iterable[str]:
    unit = UNSCALED.units(row.resource)
    for name, wanted in row.figures().items():
        if abs(actual[name] - wanted) > slack:
            where = f"{row.allocation} {row.resource}" + (f" window {row.window}" if row.window else "")
            yield f"{where}: {name} is {shown(actual[name] // unit)}, not {shown(wanted // unit)}"


async def _unfunded(expect: Expectation, control: ControlPlane, clusters: Sides) -> AsyncIterator[str]:
    for project, hours in expect.unfunded.items():
        found: dict[str, int] = {}
        slack: dict[str, int] = {}
        for cluster, account in control.owners():
            if account == project:
                for name, amount in (await control.account(cluster, account)).books.unfunded.items():
                    found[name] = found.get(name, 0) + amount
                    slack[name] = slack.get(name, 0) + clusters[cluster].slack(account, name)
        wanted = {name: amount * UNSCALED.units(name) for name, amount in hours.items()}
        names = {*found, *wanted}
        if any(abs(found.get(name, 0) - wanted.get(name, 0)) > slack.get(name, 0) for name in names):
            yield f"unfunded use of {project} is {found}, not {wanted}"


async def _actions(expect: Expectation, control: ControlPlane, clusters: Sides) -> AsyncIterator[str]:
    for name, wanted in expect.actions.items():
        holding = control.holdings[name]
        actual = control.judgements[holding.cluster, holding.project].actions.get(name, Action.NONE)
        if actual != wanted:
            yield f"the action of {name} is {actual}, not {wanted}"
    for project, wanted in expect.accounts.items():
        for cluster, account in sorted(control.owners()):
            if account == project and (actual := await clusters[cluster].account_action(account)) != wanted:
                yield f"account {project} on {cluster} is held to {actual}, not {wanted}"


async def _headroom(expect: Expectation, clusters: Sides) -> AsyncIterator[str]:
    for project, resources in expect.headroom.items():
        for resource, wanted in resources.items():
            for name, cluster in clusters.items():
                actual, slack = await cluster.headroom(project, resource), cluster.slack(project, resource)
                if actual is not None and not _is_within(actual, wanted, UNSCALED.units(resource), slack):
                    words = shown(actual // UNSCALED.units(resource)) if isinstance(actual, int) else actual
                    yield f"head-room of {project} on {name} is {words} {resource} hours, not {wanted!r}"


def _is_within(actual: int | str, wanted: int | Between | str, unit: int, slack: int) -> bool:
    if isinstance(wanted, str) or isinstance(actual, str):
        return actual == wanted
    low, high = (wanted.at_least, wanted.at_most) if isinstance(wanted, Between) else (wanted, wanted)
    band = slack + _dead_band(high * unit) if slack else 0
    return low * unit - band <= actual <= high * unit + band


def _dead_band(room: int) -> int:
    """Within this a ceiling is left as it stands, where figures are not exactly what they were; unit-seconds."""
    return MINUTE * (3 + min(60, room // MINUTE // 20))


async def _entries(scenario: Scenario, expect: Expectation, control: ControlPlane, clusters: Sides) -> AsyncIterator[str]:
    projects = {form.project for form in scenario.allocations.values()}
    booked = [entry for entry in await control.all_entries() if entry.account in projects]
    for kind, rows in expect.entries.items():
        entries = [entry for entry in booked if entry.kind == EntryKind(kind)]
        actual = [_entry(control, entry) for entry in entries]
        slack = max((clusters[entry.cluster].slack(entry.account, "cpu") for entry in entries), default=0)
        same = len(actual) == len(rows) and all(_matches(a, row, slack) for a, row in zip(actual, rows, strict=True))
        if not same:
            yield f"{kind} entries are {actual}, not {[_wanted(row) for row in rows]}"


Facts = dict[str, object]


def _entry(control: ControlPlane, entry: Entry) -> Facts:
    amounts = dict(entry.amounts)
    for row in entry.rows:
        amounts[row.resource] = amounts.get(row.resource, 0) + sum(row.allocated) - sum(row.refunded)
    spans = control.holdings[entry.uid].rules().windows if entry.uid else ()
    number = next((index for index, span in enumerate(spans, 1) if span.start == entry.window), None)
    hours = {name: amount // UNSCALED.units(name) for name, amount in amounts.items() if amount}
    return {"allocation": entry.uid, "hours": hours, "at": moment(entry.at), "window": number}


def _wanted(row: EntryRow) -> Facts:
    found: Facts = {"allocation": row.allocation, "hours": dict(row.hours)}
    if row.at is not None:
        found["at"] = moment(row.at)
    return found if row.window is None else found | {"window": row.window}


def _matches(actual: Facts, row: EntryRow, slack: int) -> bool:
    hours = actual["hours"]
    assert isinstance(hours, dict)
    if any(abs(hours.get(name, 0) - row.hours.get(name, 0)) > slack for name in {*hours, *row.hours}):
        return False
    return all(actual[name] == value for name, value in _wanted(row).items() if name != "hours")


def _firings(scenario: Scenario, expect: Expectation, control: ControlPlane) -> Iterable[str]:
    if expect.firings is None:
        return
    wanted = [(row.allocation, row.rule, row.direction) for row in expect.firings]
    actual = [(item.uid, item.rule, item.direction) for item in control.firings if item.uid in scenario.allocations]
    if actual != wanted:
        yield f"thresholds fired {actual}, not {wanted}"


async def _runs_out(expect: Expectation, control: ControlPlane) -> AsyncIterator[str]:
    for name, wanted in expect.runs_out.items():
        actual = await control.runs_out(name)
        if actual != wanted:
            words = ["never" if at is None else moment(at) for at in (actual, wanted)]
            yield f"{name} runs out {words[0]}, not {words[1]}"


async def _jobs(expect: Expectation, clusters: Sides) -> AsyncIterator[str]:
    found: dict[str, str] = {}
    for cluster in clusters.values() if expect.jobs else ():
        found |= await cluster.job_states()
    for name, wanted in expect.jobs.items():
        if found and found.get(name) != wanted:
            yield f"job {name} is {found.get(name)}, not {wanted}"
