"""Terms on the wire: what the operator signs and every reader folds over."""

from collections.abc import Mapping
from typing import TypedDict

from bursar_domain.fold import Correction
from bursar_domain.terms import PastEnd, Step, Terms, Window
from bursar_domain.wire import (
    AccountEntry,
    AllocationEntry,
    CorrectionEntry,
    EndedEntry,
    StepEntry,
    WindowEntry,
)


class SignedTerms(TypedDict):
    """Fields of a `TermsEntry`."""

    uid: str
    windows: tuple[WindowEntry, ...]
    open_until: int
    overuse_percent: int
    carries_debt: bool
    closed_from: int | None
    past_ends: tuple[tuple[int, int], ...]


def window_entries(terms: Terms) -> tuple[WindowEntry, ...]:
    """The windows as they are signed."""
    return tuple(
        WindowEntry(start=window.start, end=window.end, steps=tuple(_step_entry(step) for step in window.steps))
        for window in terms.windows
    )


def signed(terms: Terms) -> SignedTerms:
    """The fields that every signed allocation has of its terms, living or gone."""
    return {
        "uid": terms.uid,
        "windows": window_entries(terms),
        "open_until": terms.open_until,
        "overuse_percent": terms.overuse_percent,
        "carries_debt": terms.carries_debt,
        "closed_from": terms.closed_from,
        "past_ends": terms.past_ends,
    }


def ended_entry(terms: Terms) -> EndedEntry:
    """An allocation whose object is gone, as it is signed."""
    return EndedEntry(resources=tuple(sorted(terms.resources)), **signed(terms))


def _step_entry(step: Step) -> StepEntry:
    return StepEntry(at=step.at, granted=dict(step.granted), carried=_nonzero(step.carried), adjusted=_nonzero(step.adjusted))


def _nonzero(amounts: Mapping[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in amounts.items() if amount}


def terms_of(entry: AllocationEntry | EndedEntry) -> Terms:
    """The terms of a signed allocation, or of one that is gone."""
    windows = tuple(
        Window(item.start, item.end, tuple(Step(step.at, step.granted, step.carried, step.adjusted) for step in item.steps))
        for item in entry.windows
    )
    return Terms(
        uid=entry.uid,
        resources=frozenset(entry.resources if isinstance(entry, EndedEntry) else entry.granted),
        windows=windows,
        open_until=entry.open_until,
        overuse_percent=entry.overuse_percent,
        carries_debt=entry.carries_debt,
        closed_from=entry.closed_from,
        past_ends=tuple(PastEnd(before, open_until) for before, open_until in entry.past_ends),
    )


def account_terms(entry: AccountEntry) -> list[Terms]:
    """Terms of every allocation of the account, gone ones too; one without windows was never granted anything."""
    living = [terms_of(item) for item in entry.allocations if item.windows]
    return living + [terms_of(item) for item in entry.ended if item.windows]


def corrections_of(entry: AccountEntry) -> tuple[Correction, ...]:
    """The account's corrections."""
    return tuple(Correction(item.resource, item.quarter, item.amount, item.at) for item in entry.corrections)


def correction_entries(corrections: tuple[Correction, ...]) -> tuple[CorrectionEntry, ...]:
    """Corrections as they are signed."""
    return tuple(
        CorrectionEntry(resource=item.resource, quarter=item.quarter, amount=item.amount, at=item.at) for item in corrections
    )
