"""Where each allocation of an account stands: operator, agent and gateway all call this. Pure.

What the account will still use (time limits of running jobs, its run rate) is one figure for all of its allocations. It falls
to them in the order in which they are charged: to the first as much as it has left, the rest to the next, what is left over
to the last one. Of the rate an earlier one takes no more than comes before its end.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bursar_domain import projection
from bursar_domain.fold import AccountBooks, WindowBooks
from bursar_domain.ladder import Standing
from bursar_domain.projection import Rate
from bursar_domain.terms import Terms

Current = Mapping[str, Mapping[str, WindowBooks]]
"""uid -> resource -> books of the window that runs."""


class _Current(dict[str, Mapping[str, WindowBooks]]):
    """Worked out for those that are asked for: an account keeps its ended allocations, and they may be many."""

    def __init__(self, books: AccountBooks, now: int) -> None:
        super().__init__()
        self._books = books
        self._now = now

    def __missing__(self, uid: str) -> Mapping[str, WindowBooks]:
        found = self[uid] = self._books.current(uid, self._now)
        return found


@dataclass(frozen=True, slots=True)
class Account:
    """An account at the cluster's time ``now``. ``giving``: who gives room, in the order in which they are charged."""

    giving: Sequence[Terms]
    current: Current
    now: int
    committed: Mapping[str, int]
    rates: Mapping[str, Rate | None]

    @classmethod
    def of(cls, books: AccountBooks, now: int, committed: Mapping[str, int], rates: Mapping[str, Rate | None]) -> "Account":
        """From the books: what is being deleted gives no room from then on."""
        giving = [item for item in books.active(now) if item.closed_from is None]
        return cls(giving, _Current(books, now), now, committed, rates)

    def standings(self, terms: Terms) -> dict[str, Standing]:
        """What the thresholds of one allocation look at; to one that gives no room nothing more falls."""
        return {name: self._standing(terms, name, own) for name, own in self.current[terms.uid].items()}

    def runs_out(self, terms: Terms) -> dict[str, int]:
        """Resource -> second at which it is used up at the present rate, where it does not last to the end."""
        if terms not in self.giving:
            return {}
        found = {
            name: projection.exhaustion(
                own.left, self.rates.get(name), self.now, terms.closes(self.now), self._ahead(terms, name)
            )
            for name, own in self.current[terms.uid].items()
            if own.room > 0
        }
        return {name: at for name, at in found.items() if at is not None}

    def room_left(self, terms: Terms, name: str) -> int:
        """What it has left, never below 0."""
        own = self.current[terms.uid].get(name)
        return 0 if own is None else max(0, own.left)

    def _standing(self, terms: Terms, name: str, own: WindowBooks) -> Standing:
        if terms not in self.giving:
            return Standing.of(own)
        earlier = self.giving[: self.giving.index(terms)]
        later = self.giving[self.giving.index(terms) + 1 :]
        most = self.room_left(terms, name) if any(name in item.resources for item in later) else None
        rate = self.rates.get(name)
        jobs = _share(self.committed.get(name, 0), sum(self.room_left(item, name) for item in earlier), most)
        if rate is None:
            return Standing.of(own, jobs)
        ahead = rate.over(terms.closes(self.now) - self.now)
        return Standing.of(own, jobs, _share(ahead, self._ahead(terms, name), most))

    def _ahead(self, terms: Terms, name: str) -> int:
        """What of the rate those before it take."""
        rate = self.rates.get(name)
        if rate is None:
            return 0
        earlier = self.giving[: self.giving.index(terms)]
        return sum(min(self.room_left(item, name), rate.over(item.closes(self.now) - self.now)) for item in earlier)


def _share(amount: int, before: int, most: int | None) -> int:
    rest = max(0, amount - before)
    return rest if most is None else min(rest, most)


def coverage(terms: Terms, now: int, watermark: int | None) -> int:
    """How much of the time from the start of the window that runs to now the usage covers, in whole percent."""
    index = terms.index(now)
    start, until = terms.windows[index].start, min(now, terms.until(index))
    if until <= start:
        return 100
    return 0 if watermark is None else max(0, min(100, (watermark - start) * 100 // (until - start)))
