"""The brake: a plan that takes much away stops before its first command, until a person has seen that generation. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from bursar_agent.plan import Plan
from bursar_domain.wire import Brake, ClusterSettings, Root


@dataclass(frozen=True, slots=True)
class Engaged:
    """What was stopped: the generation that a person must acknowledge, and the accounts it was about."""

    generation: int
    accounts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the plan may run. ``engaged`` is what to remember; ``brake`` what to report."""

    engaged: Engaged | None = None
    brake: Brake | None = None

    @property
    def may_run(self) -> bool:
        """No brake."""
        return self.brake is None


def judge(settings: ClusterSettings, root: Root, plan: Plan, owned: int, before: Engaged | None) -> Verdict:
    """Stop if more than the allowed share of the owned accounts, and not just a few, would lose something."""
    counted = {name: account.counted for name, account in plan.accounts.items() if account.counted}
    is_much = len(counted) * 100 > owned * settings.brake_max_change_percent
    if not is_much or len(counted) < settings.brake_minimum_changes:
        return Verdict()
    accounts = frozenset(counted)
    engaged = before if before and accounts <= before.accounts else Engaged(root.generation, accounts)
    if root.acknowledged >= engaged.generation:
        return Verdict(engaged=engaged)
    return Verdict(engaged, _report(engaged, owned, [words for account in counted.values() for words in account]))


def _report(engaged: Engaged, owned: int, changes: Sequence[str]) -> Brake:
    message = (
        f"{len(engaged.accounts)} of {owned} accounts would lose hours or members at once; nothing was changed. If this is"
        f" meant, annotate the Cluster with bursar.dev/acknowledged-generation={engaged.generation}"
    )
    return Brake(generation=engaged.generation, changes=tuple(changes[:200]), message=message)
