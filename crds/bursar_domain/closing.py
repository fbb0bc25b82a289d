"""Closing: what becomes of a window's unused hours once its last slot is closed. Pure.

``carried = clamp(left x percent // 100, 0, maximum)``, whole hours; what is not carried expires. Over-use carries nothing.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import AccountBooks
from bursar_domain.terms import Terms
from bursar_domain.units import HOUR, QUARTER, UNSCALED, Scales

REOPEN_SECONDS: Final = 48 * HOUR
AUTHOR: Final = "bursar"


@dataclass(frozen=True, slots=True)
class Carry:
    """``percent`` of what a window leaves goes to the next one, at most ``maximum_hours`` of each resource, in whole hours."""

    percent: int = 0
    maximum_hours: int | None = None
    scales: Scales = UNSCALED

    def hours(self, resource: str, left: int) -> int:
        """Whole hours carried of ``left`` unit-seconds."""
        hours = max(0, self.scales.hours_left(resource, left * self.percent // 100))
        return hours if self.maximum_hours is None else min(hours, self.maximum_hours)

    def seconds(self, resource: str, left: int) -> int:
        """The same in unit-seconds."""
        return self.scales.seconds_from_hours(resource, self.hours(resource, left))


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose windows are closed."""

    cluster: str
    account: str
    namespace: str
    name: str
    carry: Carry


def is_closed(hour: int, watermark: int) -> bool:
    """Whether the slot that begins at ``hour`` never changes any more: its end lies 48 h before the watermark."""
    return hour + HOUR + REOPEN_SECONDS <= watermark


def closed_windows(terms: Terms, watermark: int) -> list[int]:
    """Windows whose last slot is closed; the last one counts its grace after the end."""
    numbers = range(len(terms.windows))
    return [number for number in numbers if is_closed(_last_hour(terms, number), watermark)]


def closes(terms: Terms, number: int) -> int:
    """The first watermark at which the last slot of a window is closed."""
    return _last_hour(terms, number) + HOUR + REOPEN_SECONDS


def _last_hour(terms: Terms, number: int) -> int:
    return (terms.until(number) - 1) // HOUR * HOUR


def closings(subject: Subject, terms: Terms, books: AccountBooks, watermark: int, known: Collection[str]) -> list[Entry]:
    """Entries of the windows that are closed and have none yet (``known`` holds the keys that are booked), oldest first."""
    found: list[Entry] = []
    for number in closed_windows(terms, watermark):
        found += [entry for entry in _of_window(subject, terms, books, number, watermark) if entry.key not in known]
    return found


def keys(terms: Terms, number: int) -> tuple[str, str]:
    """Keys of the entries that close a window: carried over to the next one, expired."""
    start = terms.windows[number].start
    return f"carry/{terms.uid}/{start}", f"expiry/{terms.uid}/{start}"


def _of_window(subject: Subject, terms: Terms, books: AccountBooks, number: int, watermark: int) -> Iterable[Entry]:
    window = terms.windows[number]
    at = watermark // QUARTER * QUARTER
    following = _receiver(terms, number + 1, at)
    carried, expired = {}, {}
    for name, figures in books.window(terms.uid, number).items():
        left = max(0, figures.left_over)
        whole = subject.carry.seconds(name, left) if following is not None else 0
        carried[name], expired[name] = whole, max(0, figures.left) - whole
    carry_key, expiry_key = keys(terms, number)
    if following is not None and any(carried.values()):
        reason = f"{subject.carry.percent} percent of what the window before left"
        yield _entry(subject, terms, EntryKind.CARRY_OVER, carry_key, at, carried, following, reason)
    yield _entry(subject, terms, EntryKind.EXPIRY, expiry_key, at, expired, window.start, "the window is over and closed")


def _receiver(terms: Terms, number: int, at: int) -> int | None:
    """Start of the window that may still use what is carried over; None where there is none, or where it is over too."""
    if number >= len(terms.windows):
        return None
    return terms.windows[number].start if at < terms.until(number) else None


def _entry(
    subject: Subject, terms: Terms, kind: EntryKind, key: str, at: int, amounts: dict[str, int], window: int, reason: str
) -> Entry:
    return Entry(
        key=key,
        kind=kind,
        cluster=subject.cluster,
        account=subject.account,
        at=at,
        author=AUTHOR,
        reason=reason,
        uid=terms.uid,
        namespace=subject.namespace,
        name=subject.name,
        amounts={name: amount for name, amount in amounts.items() if amount},
        window=window,
    )
