"""The ceiling whatever happens: head-room is never more than what is left, and what fits is not refused.

Real cycles over a model of a scheduler, in any order: jobs, node failures, counters that lag, fall and are reset, records that
come late, top-ups, shrinks, windows that roll over with debt and carried hours, other allocations that begin, end and are
deleted, restarts, foreign edits, a state past its validity. After each cycle the limit is compared with what jobs left.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bursar_agent import grants
from bursar_agent.cycle import Cycles
from bursar_agent.grants import Charged
from bursar_agent.plan import Situation
from bursar_agent.verify import DesiredState
from bursar_domain.ceiling import Sample
from bursar_testing.ceilingmachine import LONG_CYCLE, START, Ceilings

EXAMPLES = settings(
    max_examples=2_000,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.timeout(300)
def test_head_room_is_what_is_left_whatever_happens() -> None:
    run_state_machine_as_test(Ceilings, settings=EXAMPLES)


# Would it be noticed? Each of these agents has one thing wrong.


def altered(situation: Situation, charged: Callable[[Charged, Situation], Charged]) -> Situation:
    """The same with other books."""
    figures = {name: replace(item, charged=charged(item.charged, situation)) for name, item in situation.figures.items()}
    return replace(situation, figures=figures)


class WithoutGrowth(Cycles):
    """Use that only counters show is not counted (the formula's G)."""

    def situation(self, state: DesiredState, observation: Any) -> Situation:
        """Counters that never moved."""
        found = super().situation(state, observation)
        flat = {key: [Sample(item.at, series[-1].minutes) for item in series] for key, series in found.samples.items()}
        return replace(found, samples=flat)


class OldLeft(Charged):
    """What was left just before the last cut."""

    def left(self, now: int, resource: str, watermark: int | None = None) -> int:
        """Of the window before."""
        cuts = self.grants.cuts_between(START, now)
        return super().left(cuts[-1] - 1 if cuts else now, resource, watermark)


class OldWindow(Cycles):
    """The window that is over is taken for the one that runs."""

    def situation(self, state: DesiredState, observation: Any) -> Situation:
        """Books that lag by a window."""
        found = super().situation(state, observation)
        return altered(found, lambda charged, _: OldLeft(charged.grants, charged.use, charged.books))


class JustBefore(Charged):
    """What was used before the last cut and no record shows is put down just before it."""

    def left_after(self, now: int, resource: str, more: Sequence[tuple[int, int]], watermark: int | None = None) -> int:
        """As if it had been used there."""
        (*_, cut) = self.grants.cuts_between(0, now)
        return super().left_after(now, resource, [(at if at >= cut else cut - 1, amount) for at, amount in more], watermark)


class Belated(Cycles):
    """It does not matter when between two cuts something was used."""

    def situation(self, state: DesiredState, observation: Any) -> Situation:
        """Books that take it for younger than it is."""
        found = super().situation(state, observation)
        return altered(found, lambda charged, _: JustBefore(charged.grants, charged.use, charged.books))


class WithoutDebt(Cycles):
    """Over-use of a window is forgotten."""

    def situation(self, state: DesiredState, observation: Any) -> Situation:
        """Terms that forgive."""

        def forgiving(charged: Charged, _: Situation) -> Charged:
            terms = tuple(replace(item, carries_debt=False) for item in charged.grants.terms)
            return grants.charge(replace(charged.grants, terms=terms), charged.use)

        return altered(super().situation(state, observation), forgiving)


class Trusting(Cycles):
    """After a start the counter is taken for what it was when records ended, however long that was ago."""

    def _anchor(self, state: DesiredState, observation: Any, figures: Any) -> None:
        watermark = self.book.watermark
        for series in self._samples.series.values():
            if watermark is not None and series[0].at > watermark:
                series.insert(0, Sample(watermark, series[0].minutes))

    def situation(self, state: DesiredState, observation: Any) -> Situation:
        """However far apart samples lie."""
        return replace(super().situation(state, observation), cycle_seconds=float("inf"))


class Hasty(Cycles):
    """The counter is read, and records that are minutes old are taken for complete."""

    def situation(self, state: DesiredState, observation: Any) -> Situation:
        """A watermark out of thin air."""
        return replace(super().situation(state, observation), watermark=observation.time)


def mutant(cycles: type[Cycles], *, forgets_refunds: bool = False) -> type[Ceilings]:
    """The machine with another agent."""
    return type(cycles.__name__, (Ceilings,), {"cycles_class": cycles, "forgets_refunds": forgets_refunds})


class WithoutRefunds(Cycles):
    """Work that the machine's fault ended is charged: the model's records do not tell."""


MUTANTS = [mutant(agent) for agent in (WithoutGrowth, OldWindow, Trusting, Hasty)]
MUTANTS.append(mutant(WithoutRefunds, forgets_refunds=True))
QUICK = settings(
    EXAMPLES, max_examples=10_000, phases=[Phase.generate], derandomize=True, database=None, report_multiple_bugs=False
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("machine", MUTANTS, ids=lambda machine: machine.__name__)
def test_an_agent_with_a_fault_is_found_out(machine: type[Ceilings]) -> None:
    with pytest.raises(AssertionError, match="head-room"):
        run_state_machine_as_test(machine, settings=QUICK)


# Two of them show in few runs. They are told a story.


def another_came_meanwhile(site: Ceilings) -> None:
    """While records are late four hours are used, then another allocation begins and ends."""
    site.begin(period=0, hours=[10, 10], grace=0, debt=True, cycle_seconds=LONG_CYCLE)
    site.records_freeze_or_come()
    site.work(cpus=8, minutes=30, fails=False)
    site.another_comes_and_goes(hours=10)


def more_was_used_than_is_granted_since(site: Ceilings) -> None:
    """Four hours are used, the grant is taken back, and the next window begins."""
    site.begin(period=0, hours=[5, 10], grace=0, debt=True, cycle_seconds=LONG_CYCLE)
    site.work(cpus=8, minutes=30, fails=False)
    site.grant_changes(hours=-5)
    site.window_ends(seconds=5, which=0)


@contextmanager
def new(machine: type[Ceilings]) -> Iterator[Ceilings]:
    """One that leaves nothing behind."""
    site = machine()
    try:
        yield site
    finally:
        site.teardown()


STORIES = [(another_came_meanwhile, mutant(Belated)), (more_was_used_than_is_granted_since, mutant(WithoutDebt))]


@pytest.mark.parametrize(("story", "wrong"), STORIES, ids=lambda item: item.__name__)
def test_a_story_shows_a_fault(story: Callable[[Ceilings], None], wrong: type[Ceilings]) -> None:
    with new(Ceilings) as site:
        story(site)
    with new(wrong) as site, pytest.raises(AssertionError, match="too much head-room"):
        story(site)
