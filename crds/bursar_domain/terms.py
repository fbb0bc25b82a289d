"""Terms: one allocation as accounting needs it, every window with the room that it has from which quarter on.

Everything that gives or takes room is an entry with the quarter from which it acts; `build` lays the entries out over the
windows. The operator builds terms and signs them, so that agent, gateway and operator fold over the same.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from bursar_domain.entries import Entry, EntryKind
from bursar_domain.units import QUARTER
from bursar_domain.windows import Span, shared

BY_HAND: Final = frozenset({EntryKind.ADJUSTMENT, EntryKind.TRANSFER, EntryKind.REFUND})
Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """What a window has from ``at`` on, in unit-seconds by resource, absolute: share of the grant, carried in, by hand."""

    at: int
    granted: Amounts
    carried: Amounts = field(default_factory=dict)
    adjusted: Amounts = field(default_factory=dict)


NOTHING: Final = Step(0, {})


@dataclass(frozen=True, slots=True)
class Window:
    """``[start, end)`` in epoch seconds; steps in order, the first one where the window first has anything."""

    start: int
    end: int
    steps: tuple[Step, ...]

    def at(self, second: int) -> Step:
        """The step in force at a second; `NOTHING` before the first."""
        return next((step for step in reversed(self.steps) if step.at <= second), NOTHING)

    @property
    def last(self) -> Step:
        """The step in force at the window's end."""
        return self.steps[-1] if self.steps else NOTHING


class PastEnd(NamedTuple):
    """``open_until`` as it was ``before`` a second: an end that is moved acts from there on."""

    before: int
    open_until: int


@dataclass(frozen=True, slots=True)
class Terms:
    """One allocation: windows in order; ``open_until`` is the end of the last one plus the grace after it.

    ``overuse_percent`` is granted on top of each window's share; ``carries_debt``: over-use of a window burdens the next.
    ``closed_from``: deleted, so that nothing more is put down to it; its place in the order stays, for what was put down.
    ``past_ends``, in order, say what its place was before its end was moved.
    """

    uid: str
    resources: frozenset[str]
    windows: tuple[Window, ...]
    open_until: int
    overuse_percent: int = 0
    carries_debt: bool = True
    closed_from: int | None = None
    past_ends: tuple[PastEnd, ...] = ()

    @property
    def start(self) -> int:
        """First second."""
        return self.windows[0].start

    @property
    def end(self) -> int:
        """First second after the last window, grace not counted."""
        return self.windows[-1].end

    def is_active(self, second: int) -> bool:
        """Whether use of this second may be put down to it: it had not ended by the end that stood then."""
        if not self.windows[0].start <= second < self.active_until:
            return False
        return not self.past_ends or second < self.place(second)[0]

    @property
    def active_until(self) -> int:
        """First second whose use is not put down to it any more: the end with its grace, or the quarter of its deletion."""
        return self.open_until if self.closed_from is None else min(self.open_until, self.closed_from)

    def place(self, second: int) -> tuple[int, str]:
        """Who ends first is charged first: the end as it stood at a second, then the uid."""
        stood = next((past.open_until for past in self.past_ends if second < past.before), self.open_until)
        return stood, self.uid

    def until(self, index: int) -> int:
        """First second after a window; after the last one and its grace."""
        return self.open_until if index == len(self.windows) - 1 else self.windows[index].end

    def closes(self, second: int) -> int:
        """Until when what is left at a second may be used: the end of its window; after that of the last one its grace."""
        end = self.windows[self.index(second)].end
        return end if second < end else max(second + 1, self.open_until)

    def index(self, second: int) -> int:
        """Which window holds a second; the first one before the start, the last one after the end."""
        windows = self.windows
        if second >= windows[-1].start:
            return len(windows) - 1
        return next(number for number, window in enumerate(windows) if second < window.end)

    def boundaries(self) -> set[int]:
        """Every second at which its room may change, its place in the order, or whether it is active."""
        edges = {window.start for window in self.windows} | {self.end, self.open_until}
        edges |= set() if self.closed_from is None else {self.closed_from}
        edges |= {at for past in self.past_ends for at in (past.before, min(past))}
        return edges | {step.at for window in self.windows for step in window.steps}


@dataclass(frozen=True, slots=True)
class Rules:
    """What an allocation's spec says about its windows; times in epoch seconds.

    ``is_deleted``: it is gone or about to go. ``past_ends``: how its end stood before it was moved.
    """

    uid: str
    resources: tuple[str, ...]
    windows: tuple[Span, ...]
    after_end_seconds: int = 0
    overuse_percent: int = 0
    carries_debt: bool = True
    is_deleted: bool = False
    past_ends: tuple[PastEnd, ...] = ()

    @property
    def open_until(self) -> int:
        """End of the last window and the grace after it."""
        return self.windows[-1].end + self.after_end_seconds

    def moved(self, before: "Rules | Terms", now: int | None) -> "Rules":
        """These rules where the allocation had those before; ``now``: the cluster's time, None while nothing was charged.

        What was charged stays: another end acts from the next quarter on and keeps the allocation's place in the order of
        the time before, and the allocation does not end before that quarter, or before it ended.
        """
        past = before.past_ends
        if now is None or self.open_until == before.open_until:
            return replace(self, past_ends=past)
        at = now // QUARTER * QUARTER + QUARTER
        until = max(self.open_until, min(before.open_until, at))
        if until != before.open_until and (not past or past[-1].before < at):
            past = (*past, PastEnd(at, before.open_until))
        return replace(self, after_end_seconds=until - self.windows[-1].end, past_ends=past)


def simple(uid: str, start: int, end: int, seconds: Amounts, *, overuse_percent: int = 0, after_end_seconds: int = 0) -> Terms:
    """Terms of one window that has its room, in unit-seconds, from the start on."""
    window = Window(start, end, (Step(start, dict(seconds)),))
    return Terms(uid, frozenset(seconds), (window,), end + after_end_seconds, overuse_percent)


def build(rules: Rules, entries: Iterable[Entry]) -> Terms:
    """Lay the allocation's entries, in order of their numbers, out over its windows.

    A `Grant` says the usable total from its quarter on and replaces what was posted for later; the difference to the total
    before is shared out by seconds over the window of that quarter and those not yet begun. `CarryOver` adds to the window it
    names, everything made by hand to the window of its quarter; what comes after the last second acts no more.
    """
    own = [entry for entry in entries if entry.uid == rules.uid]
    last = rules.open_until
    layers = [_Layer(span, last if span == rules.windows[-1] else span.end) for span in rules.windows]
    for name in rules.resources:
        _lay_grants(layers, name, _postings(own, name))
    for entry in own:
        _lay_entry(layers, entry)
    windows = tuple(layer.window(rules.resources) for layer in layers)
    return Terms(
        uid=rules.uid,
        resources=frozenset(rules.resources),
        windows=windows,
        open_until=last,
        overuse_percent=rules.overuse_percent,
        carries_debt=rules.carries_debt,
        closed_from=_closed_from(own) if rules.is_deleted else None,
        past_ends=rules.past_ends,
    )


def _closed_from(entries: Iterable[Entry]) -> int | None:
    """The quarter from which a deleted allocation has nothing; None before that is posted."""
    grants = [entry for entry in entries if entry.kind is EntryKind.GRANT]
    return grants[-1].at if grants and not any(grants[-1].amounts.values()) else None


@dataclass(slots=True)
class _Layer:
    """One window while entries are laid out: (second, kind) -> resource -> unit-seconds added there."""

    span: Span
    until: int
    added: defaultdict[tuple[int, str], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def add(self, at: int, kind: str, name: str, amount: int) -> None:
        cell = self.added[max(at, self.span.start), kind]
        cell[name] = cell.get(name, 0) + amount

    def window(self, resources: Sequence[str]) -> Window:
        sums: dict[str, dict[str, int]] = {"granted": dict.fromkeys(resources, 0), "carried": {}, "adjusted": {}}
        steps = []
        for at in sorted({at for at, _ in self.added}):
            for kind, amounts in sums.items():
                for name, amount in self.added.get((at, kind), {}).items():
                    amounts[name] = amounts.get(name, 0) + amount
            steps.append(Step(at, dict(sums["granted"]), dict(sums["carried"]), dict(sums["adjusted"])))
        return Window(*self.span, tuple(steps))


def _postings(entries: Iterable[Entry], name: str) -> list[tuple[int, int]]:
    """(quarter, usable total) in order: a later entry replaces whatever was posted for its quarter and after."""
    found: list[tuple[int, int]] = []
    for entry in entries:
        if entry.kind is EntryKind.GRANT:
            found = [item for item in found if item[0] < entry.at]
            found.append((entry.at, entry.amounts.get(name, 0)))
    return found


def _lay_grants(layers: Sequence[_Layer], name: str, postings: Iterable[tuple[int, int]]) -> None:
    total = 0
    for at, amount in postings:
        first = _index(layers, at)
        rest = layers[first:]
        for layer, share in zip(rest, shared(amount - total, [layer.span for layer in rest]), strict=True):
            if at < layer.until:
                layer.add(at, "granted", name, share)
        total = amount


def _lay_entry(layers: Sequence[_Layer], entry: Entry) -> None:
    if entry.kind is EntryKind.CARRY_OVER:
        targets = [layer for layer in layers if layer.span.start == entry.window]
        kind = "carried"
    elif entry.kind in BY_HAND:
        targets, kind = [layers[_index(layers, entry.at)]], "adjusted"
    else:
        return
    for layer in targets:
        if entry.at < layer.until:
            for name, amount in entry.amounts.items():
                layer.add(entry.at, kind, name, amount)


def _index(layers: Sequence[_Layer], second: int) -> int:
    return next((number for number, layer in enumerate(layers) if second < layer.span.end), len(layers) - 1)
