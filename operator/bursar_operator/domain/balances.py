"""Balances, decided: the figures that a status shows of the window that runs. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple

from bursar_domain import ladder
from bursar_domain.fold import AccountBooks, WindowBooks
from bursar_domain.ladder import Rule, Standing
from bursar_domain.projection import Rate
from bursar_domain.standings import Account, coverage
from bursar_domain.terms import Terms
from bursar_domain.units import UNSCALED, Scales
from bursar_operator.domain import hours
from bursar_operator.ledgerview import Figures

Obj = Mapping[str, Any]


@dataclass(frozen=True)
class View:
    """One allocation at the cluster's time ``now``; ``committed`` in unit-seconds of the account's running jobs."""

    terms: Terms
    books: AccountBooks
    now: int
    committed: Mapping[str, int]
    rates: Mapping[str, Rate | None]
    scales: Scales = UNSCALED

    @property
    def window(self) -> Mapping[str, WindowBooks]:
        """Resource -> books of the window that runs."""
        return self.books.current(self.terms.uid, self.now)

    @property
    def window_start(self) -> int:
        """First second of the window that runs."""
        return self.terms.windows[self.terms.index(self.now)].start

    def standings(self) -> dict[str, Standing]:
        """What thresholds look at."""
        return self.account.standings(self.terms)

    def exhaustion(self) -> int | None:
        """Second at which the first resource runs out at the present rate."""
        return min(self.account.runs_out(self.terms).values(), default=None)

    @cached_property
    def account(self) -> Account:
        """The account that it is one of."""
        return Account.of(self.books, self.now, self.committed, self.rates)


class Stated(NamedTuple):
    """Hours used that an agent stated by hand at a time, beyond what the books knew then."""

    cluster: str
    hours: Mapping[str, int]
    issued_at: datetime

    def beyond(self, complete_until: datetime | None) -> Mapping[str, int]:
        """What the books do not know yet: use that is complete up to the statement has these hours in it."""
        return self.hours if complete_until is None or complete_until < self.issued_at else {}


def held(allocation: Obj) -> dict[str, int]:
    """What the pools hold counts: use stays with an allocation whose grant is being taken back."""
    status = allocation.get("status") or {}
    return hours.upper(hours.of(status.get("charged")), hours.of(status.get("granted")))


def used_hours(books: AccountBooks, uid: str, scales: Scales) -> dict[str, int]:
    """Whole hours that an allocation used in all windows, rounded up."""
    return {name: scales.hours_used(name, amount) for name, amount in books.booked(uid).items()}


def in_force(view: View, rules: Sequence[Rule], before: tuple[int, Collection[str]]) -> frozenset[str]:
    """Keys of the rules in force now; in a new window none were before."""
    window, keys = before
    return ladder.in_force(rules, view.standings(), keys if window == view.window_start else ())


def figures(view: View, rules: Sequence[Rule], keys: Collection[str], as_of: datetime | None, *, stale: bool) -> Figures:
    """Figures of one allocation for its status, of the window that runs."""
    window, scales = view.window, view.scales
    exhaustion = view.exhaustion()
    known = None if as_of is None else int(as_of.timestamp())
    return Figures(
        used={name: scales.hours_used(name, books.booked) for name, books in window.items()},
        committed=committed_hours(view.committed, window.keys(), scales),
        adjusted={name: scales.hours_left(name, total) for name, b in window.items() if (total := _beside(b))},
        available={name: scales.hours_left(name, books.left) for name, books in window.items()},
        window_hours={name: max(0, scales.hours_left(name, books.granted)) for name, books in window.items()},
        carried={name: scales.hours_left(name, books.carried) for name, books in window.items() if books.carried},
        window_start=datetime.fromtimestamp(view.window_start, UTC),
        window_end=datetime.fromtimestamp(view.terms.windows[view.terms.index(view.now)].end, UTC),
        used_percent=ladder.used_percent(view.standings()),
        coverage_percent=coverage(view.terms, view.now, known),
        projected_exhaustion=None if exhaustion is None else datetime.fromtimestamp(exhaustion, UTC),
        usage_as_of=as_of,
        enforcement=str(ladder.strongest(rules, keys)),
        exhausted=any(books.left <= 0 for books in window.values() if books.granted > 0),
        overdrawn=any(books.left < 0 for books in window.values()),
        usage_stale=stale,
    )


def _beside(books: WindowBooks) -> int:
    """What was given or taken beside the grant and what was carried in."""
    return books.adjusted + books.credited - books.debt


def committed_hours(committed: Mapping[str, int], resources: Collection[str], scales: Scales) -> dict[str, int]:
    """Whole hours that running jobs may still use, rounded up, of the resources that the allocation lists."""
    return {name: scales.hours_used(name, amount) for name, amount in committed.items() if name in resources and amount > 0}
