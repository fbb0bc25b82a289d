"""Every check over one history."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bursar_testing.checker import backing, bounds, rest, steps
from bursar_testing.checker.history import History
from bursar_testing.checker.outliving import Outliving
from bursar_testing.checker.promptness import Promptness, Span
from bursar_testing.checker.world import Finding, World


@dataclass(frozen=True, slots=True)
class Terms:
    """What the history is held to. `calm`: spans of time in which decisions have to be prompt."""

    recount_seconds: float = 600.0
    decide_seconds: float = 5.0
    calm: Sequence[Span] = ()
    accepted: frozenset[str] = frozenset()
    """Uids of allocations that the API server told its clients it stored."""
    at_rest: bool = True
    """Whether the end of the history is one at which nothing may be left over."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found, and how much was looked at."""

    findings: Sequence[Finding]
    versions: int
    allocations: int
    polls: int
    grants: int

    def as_json(self) -> dict[str, object]:
        """For the report: counts, and the first findings in words."""
        counts = Counter(finding.kind for finding in self.findings)
        return {
            "violations": counts["violation"],
            "lost": counts["lost"],
            "stuck": counts["stuck"],
            "versions": self.versions,
            "allocations": self.allocations,
            "polls": self.polls,
            "grants": self.grants,
            "findings": [finding.as_json() for finding in self.findings[:50]],
        }


def judge(history: History, terms: Terms) -> Verdict:
    """The verdict over a history."""
    world = World()
    findings = [Finding("violation", "gap", 0, words) for words in history.gaps]
    findings.extend(_replayed(world, history, terms))
    findings.extend(backing.check_told(history))
    findings.extend(backing.check_acknowledged(history))
    last = history.versions[-1].revision if history.versions else 0
    unseen = terms.accepted - set(world.allocations) - set(world.gone)
    findings.extend(Finding("lost", "lost", last, f"{uid} was accepted and never stored") for uid in sorted(unseen))
    if terms.at_rest:
        findings.extend(rest.check(world, history, last))
    grants = sum(version.allocation is not None and version.allocation.revision > 0 for version in history.versions)
    seen = len(world.allocations) + len(world.gone)
    return Verdict(findings, len(history.versions), seen, len(history.polls), grants)


def _replayed(world: World, history: History, terms: Terms) -> Iterator[Finding]:
    outliving, promptness = Outliving(history, terms.recount_seconds), Promptness(history, terms.calm, terms.decide_seconds)
    for version in history.versions:
        change = world.take(version)
        yield from bounds.check(world, change)
        yield from steps.check(world, change)
        yield from backing.check(world, change)
        yield from outliving.check(world, change)
        yield from promptness.check(world, change)
    yield from outliving.finish(history)
    yield from promptness.finish(world, history)
