"""Balances, decided: an account's use put down to its allocations, and the figures of each for people. No I/O, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bursar_domain import projection
from bursar_domain.fold import AccountBooks, Correction, WindowBooks, fold
from bursar_domain.ladder import Standing, used_percent
from bursar_domain.projection import Rate
from bursar_domain.standings import Account, coverage
from bursar_domain.terms import Terms, Window
from bursar_domain.units import Scales
from bursar_ledger.accounts import AccountReading, Use

Obj = dict[str, Any]
NO_RATE: Final = "no projection yet: that needs a day of use behind it"
WAITS: Final = "the operator has not looked at it yet; `bursar doctor` says whether it runs"
UNPUBLISHED: Final = "granted, and about to be told to the cluster; look again in a moment"


@dataclass(frozen=True, slots=True)
class Standings:
    """An account's books at a second of its cluster's clock, with what its running jobs may still use."""

    books: AccountBooks
    reading: AccountReading
    now: int
    rates: Mapping[str, Rate | None]
    scales: Scales

    @classmethod
    def of(cls, reading: AccountReading, wall: int, scales: Scales) -> "Standings":
        """Fold; ``wall`` stands in for the cluster's clock while no agent has told it."""
        books = fold(reading.terms, reading.use, reading.corrections)
        now = reading.clock or wall
        names = {name for terms in reading.terms for name in terms.resources}
        return cls(books, reading, now, {name: rate(reading, name) for name in names}, scales)

    @property
    def committed(self) -> Mapping[str, int]:
        """Unit-seconds that running jobs of the account may still use."""
        return self.reading.state.committed if self.reading.state else {}


def rate(reading: AccountReading, resource: str) -> Rate | None:
    """How fast the account uses a resource, at the cluster's time."""
    now = reading.clock
    if now is None:
        return None
    since = projection.since(reading.terms, resource, now)
    used = sum(amount for at, amount in reading.use.get(resource, ()) if since is not None and at >= since)
    return projection.rate(used, since, now)


def row(allocation: Obj, standings: Standings) -> Obj:
    """One allocation: its window, and per resource what it had and what became of it."""
    spec, status, uid = allocation["spec"], allocation.get("status") or {}, allocation["metadata"]["uid"]
    head = {
        "cluster": spec["clusterRef"]["name"],
        "allocation": allocation["metadata"]["name"],
        "start": spec["period"]["start"],
        "end": spec["period"]["end"],
        "enforcement": status.get("enforcement", "None"),
        "asOf": None if standings.reading.watermark is None else instant(standings.reading.watermark),
    }
    terms = standings.books.terms.get(uid)
    return head | (_waiting(allocation, standings.scales) if terms is None else _granted(terms, standings))


def _waiting(allocation: Obj, scales: Scales) -> Obj:
    """Nothing was granted yet, or nothing that the cluster was told of."""
    return {
        "phase": "Waiting",
        "waitingFor": waits_for(allocation),
        "window": None,
        "usedPercent": 0,
        "coveragePercent": 0,
        "projection": NO_RATE,
        "resources": [
            _figures(item["name"], WindowBooks(), 0, None, scales) for item in by_name(allocation["spec"]["resources"])
        ],
    }


def waits_for(allocation: Obj) -> str:
    """Why an allocation has no hours, in a sentence."""
    found = {item["type"]: item for item in (allocation.get("status") or {}).get("conditions", ())}
    granted = found.get("Granted")
    if granted is None:
        return WAITS
    return UNPUBLISHED if granted["status"] == "True" else str(granted["message"])


def _granted(terms: Terms, standings: Standings) -> Obj:
    now, uid, scales = standings.now, terms.uid, standings.scales
    index = terms.index(now)
    window = terms.windows[index]
    account = Account.of(standings.books, now, standings.committed, standings.rates)
    runs_out = account.runs_out(terms)
    books = standings.books.current(uid, now)
    known = next((item for item in standings.rates.values() if item is not None), None)
    return {
        "phase": phase(terms, now),
        "waitingFor": None,
        "window": {
            "start": instant(window.start),
            "end": instant(window.end),
            "number": index + 1,
            "of": len(terms.windows),
        },
        "usedPercent": used_percent({name: Standing.of(item) for name, item in books.items()}),
        "coveragePercent": coverage(terms, now, standings.reading.watermark),
        "projection": NO_RATE if known is None else known.in_words(),
        "resources": [
            _figures(name, item, standings.committed.get(name, 0), standings.rates.get(name), scales)
            | {"runsOut": instant(runs_out[name]) if name in runs_out else None, "opens": opens(name, window, now, scales)}
            for name, item in books.items()
        ],
    }


def phase(terms: Terms, now: int) -> str:
    """Whether its period has begun, runs, or is over (the grace after the end counts as running)."""
    if now < terms.start:
        return "Upcoming"
    return "Running" if terms.is_active(now) else "Ended"


def opens(resource: str, window: Window, now: int, scales: Scales) -> Obj | None:
    """The next hours of the window that are granted and not open yet: when, and how many more."""
    has = window.at(max(now, window.start)).granted.get(resource, 0)
    for step in window.steps:
        more = step.granted.get(resource, 0) - has
        if step.at > now and step.at > window.start and more > 0:
            return {"at": instant(step.at), "hours": scales.hours_left(resource, more)}
    return None


def attributed(reading: AccountReading, start: int | None, end: int | None) -> dict[str, dict[str, int]]:
    """Allocation -> resource -> unit-seconds put down to it in ``[start, end)``; ``""``: to none, for none was active.

    A correction counts where it was posted. An allocation that is gone goes by its uid. The reading knows both boundaries.
    """
    later = _put_down(reading, end)
    earlier = {} if start is None else _put_down(reading, start)
    rows = {key: later.get(key, 0) - earlier.get(key, 0) for key in sorted({*later, *earlier})}
    found: dict[str, dict[str, int]] = {}
    for (uid, resource), amount in rows.items():
        if amount:
            found.setdefault(reading.names.get(uid, uid), {})[resource] = amount
    return found


def _put_down(reading: AccountReading, until: int | None) -> dict[tuple[str, str], int]:
    """(uid, resource) -> unit-seconds put down before a second, by what was known then of closed slots."""
    books = fold(*known_before(reading, until))
    found = {("", name): amount for name, amount in books.unfunded.items()}
    for uid, terms in books.terms.items():
        for index in range(len(terms.windows)):
            for name, window in books.window(uid, index).items():
                found[uid, name] = found.get((uid, name), 0) + window.booked - window.credited
    return found


def known_before(reading: AccountReading, until: int | None) -> tuple[Sequence[Terms], Use, Sequence[Correction]]:
    """What `fold` takes, as it was known before a second; None: now."""
    if until is None:
        return reading.terms, reading.use, reading.corrections
    use = {name: [item for item in items if item[0] < until] for name, items in reading.use.items()}
    for item in reading.corrections:
        if item.at >= until > item.quarter:
            use.setdefault(item.resource, []).append((item.quarter, -item.amount))
    return reading.terms, use, [item for item in reading.corrections if item.at < until]


def _figures(name: str, books: WindowBooks, committed: int, rate: Rate | None, scales: Scales) -> Obj:
    """Hours as people read them (what is left rounded down, what was used up), and the exact unit-seconds.

    ``room`` is what granted, carried, adjusted and credited come to, less debt. ``available`` is room less use and falls below
    zero when that is overdrawn; ``left`` never does. ``committed`` is what all running jobs of the account may still use.
    """
    left = max(0, books.left)
    return {
        "name": name,
        "grantedHours": scales.hours_left(name, books.granted),
        "carriedHours": scales.hours_left(name, books.carried),
        "adjustedHours": scales.hours_left(name, books.adjusted),
        "creditedHours": scales.hours_left(name, books.credited),
        "debtHours": scales.hours_used(name, books.debt),
        "roomHours": scales.hours_left(name, books.room),
        "usedHours": scales.hours_used(name, books.booked),
        "committedHours": scales.hours_used(name, committed),
        "availableHours": scales.hours_left(name, books.left),
        "leftHours": scales.hours_left(name, left),
        "usedPercent": books.booked * 100 // books.room if books.room > 0 else (100 if books.booked else 0),
        "grantedSeconds": books.granted,
        "carriedSeconds": books.carried,
        "adjustedSeconds": books.adjusted,
        "creditedSeconds": books.credited,
        "debtSeconds": books.debt,
        "usedSeconds": books.booked,
        "committedSeconds": committed,
        "availableSeconds": books.left,
        "leftSeconds": left,
        "burnPerDayHours": None if rate is None else scales.hours_used(name, rate.per_day),
        "runsOut": None,
        "opens": None,
    }


def by_name(items: list[Obj]) -> list[Obj]:
    """In order of their names."""
    return sorted(items, key=lambda item: str(item["name"]))


def instant(seconds: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
