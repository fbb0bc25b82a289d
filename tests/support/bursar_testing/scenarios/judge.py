"""Figures of one account at a second, from its signed entry and its use: what operator and agent both work out. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bursar_domain import projection
from bursar_domain.fold import AccountBooks
from bursar_domain.ladder import LADDER, Action, Rule, in_force, strongest
from bursar_domain.standings import Account

Before = Mapping[str, tuple[int, frozenset[str]]]


@dataclass(frozen=True)
class Rates:
    """Run rates by resource."""

    found: Mapping[str, projection.Rate | None] = field(default_factory=dict)

    def of(self, resource: str) -> projection.Rate | None:
        """None where nobody knows."""
        return self.found.get(resource)


@dataclass(frozen=True)
class Judgement:
    """By allocation: window and rules in force, and the action; of the account: the least restricted one."""

    rules: Mapping[str, tuple[int, frozenset[str]]]
    actions: Mapping[str, Action]

    @property
    def account(self) -> Action:
        """What the account as a whole is held to."""
        return min(self.actions.values(), key=LADDER.index, default=Action.NONE)


def judge(
    books: AccountBooks,
    thresholds: Mapping[str, Sequence[Rule]],
    now: int,
    before: Before,
    committed: Mapping[str, int],
    rates: Rates,
) -> Judgement:
    """Rules in force and actions of every active allocation that is alive."""
    rules, actions = {}, {}
    account = Account.of(books, now, committed, rates.found)
    for terms in books.active(now):
        if terms.uid in thresholds:
            number = terms.index(now)
            known = before.get(terms.uid, (number, frozenset()))
            keys = in_force(thresholds[terms.uid], account.standings(terms), known[1] if known[0] == number else ())
            rules[terms.uid] = number, keys
            actions[terms.uid] = strongest(thresholds[terms.uid], keys)
    return Judgement(rules, actions)
