"""Several stories on one cluster: each with names of its own, so that none sees another. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from bursar_testing.scenarios.model import EventForm, Expectation, Form, Scenario

F = TypeVar("F", bound=Form)
NAMES = ("allocation", "source", "target", "job")


def apart(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """The same stories, with names of allocations, projects and jobs that differ from one story to the next."""
    return [_prefixed(scenario, f"s{number}-") for number, scenario in enumerate(scenarios, 1)]


def _prefixed(scenario: Scenario, prefix: str) -> Scenario:
    allocations = {
        prefix + name: form.model_copy(update={"project": prefix + form.project}) for name, form in scenario.allocations.items()
    }
    jobs = [
        job.model_copy(update={"project": prefix + job.project, "name": job.name and prefix + job.name})
        for job in scenario.jobs
    ]
    return scenario.model_copy(
        update={
            "allocations": allocations,
            "jobs": tuple(jobs),
            "events": tuple(_event(event, prefix) for event in scenario.events),
            "expect": tuple(_expectation(expectation, prefix) for expectation in scenario.expect),
        }
    )


def _event(event: EventForm, prefix: str) -> EventForm:
    what: Any = getattr(event, event.kind)
    if isinstance(what, Form):
        what = _names(what, prefix)
    elif event.kind == "delete":
        what = prefix + what
    return event.model_copy(update={event.kind: what})


def _expectation(expectation: Expectation, prefix: str) -> Expectation:
    firings = expectation.firings
    by_name = ("unfunded", "actions", "accounts", "headroom", "runs_out", "jobs")
    return expectation.model_copy(
        update={
            "balances": tuple(_names(row, prefix) for row in expectation.balances),
            "entries": {kind: tuple(_names(row, prefix) for row in rows) for kind, rows in expectation.entries.items()},
            "firings": None if firings is None else tuple(_names(row, prefix) for row in firings),
            **{name: _keys(getattr(expectation, name), prefix) for name in by_name},
        }
    )


def _names(form: F, prefix: str) -> F:
    fields = {name: prefix + value for name in NAMES if (value := getattr(form, name, ""))}
    return form.model_copy(update=fields)


def _keys(found: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {prefix + name: value for name, value in found.items()}
