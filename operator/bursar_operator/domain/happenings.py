"""What happens to an allocation that a person would look for, each told once, as an Event of Kubernetes. Pure.

Most of it is told from a `State`: what is in force in a window. A key that comes into it or leaves it is a happening, named by
allocation, window, key and direction for ever; so is the Event, so that telling it again makes no second one.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from bursar_crds.instants import format_instant
from bursar_crds.reasons import Reason
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.ladder import Action, Rule, Standing
from bursar_domain.units import Scales
from bursar_operator.domain import events

Obj = Mapping[str, Any]
Direction = Literal["up", "down"]
Change = tuple[str, Direction]
EXHAUSTED: Final = "Exhausted"
OVERDRAWN: Final = "Overdrawn"
ROLLED_OVER: Final = "RolledOver"
STEP: Final = "Step@"
UNTOLD: Final = "?"
LOUD: Final = frozenset({Action.THROTTLE, Action.SOFT_LAND, Action.HOLD, Action.BLOCK})
BY_HAND: Final = {
    EntryKind.ADJUSTMENT: Reason.ADJUSTED,
    EntryKind.REFUND: Reason.REFUNDED,
    EntryKind.TRANSFER: Reason.TRANSFERRED,
}
BASES: Final = {
    "Used": "used",
    "Committed": "used or promised to running jobs",
    "Projected": "used by the window's end at the present rate",
}
DOES: Final = {
    Action.NOTIFY: "nothing but this",
    Action.THROTTLE: "as many units run at one time as spend the rest evenly",
    Action.SOFT_LAND: "jobs start at low priority, free of charge",
    Action.HOLD: "no further job starts",
    Action.BLOCK: "no further job starts or is accepted",
}


@dataclass(frozen=True, slots=True)
class State:
    """Keys in force in a window: of thresholds, `EXHAUSTED`, `OVERDRAWN`, and the step that the cluster has read back."""

    window: int
    keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Scene:
    """One allocation as it is when something is told of it; ``at``: the cluster's time."""

    allocation: Obj
    at: int
    rules: Sequence[Rule]
    standings: Mapping[str, Standing]
    scales: Scales

    def percent(self, basis: str) -> int:
        """The highest figure of the basis, in whole percent of its room."""
        figures = [(getattr(item, basis.lower()) or 0, item.room) for item in self.standings.values()]
        return max((figure * 100 // room for figure, room in figures if room > 0), default=100)


@dataclass(frozen=True, slots=True)
class Happening:
    """``window``, ``what`` and ``direction`` name it among those of its allocation; ``figure`` in percent."""

    allocation: Obj
    window: int
    what: str
    direction: Direction
    at: int
    figure: int
    reason: Reason
    action: str
    note: str
    is_loud: bool = False

    @property
    def uid(self) -> str:
        """The allocation's."""
        return str(self.allocation["metadata"]["uid"])

    @property
    def name(self) -> str:
        """Name of its Event, the same whenever it is told."""
        identity = f"{self.uid}|{self.window}|{self.what}|{self.direction}"
        own = str(self.allocation["metadata"]["name"])[:40].rstrip(".-")
        return f"{own}.{hashlib.sha256(identity.encode()).hexdigest()[:16]}"


def keys(rules: Iterable[str], *, exhausted: bool, overdrawn: bool, step: Action | None) -> frozenset[str]:
    """Keys of a state: of the thresholds in force, the conditions that hold, the step that was read back where one was."""
    found = {*rules, *([EXHAUSTED] if exhausted else ()), *([OVERDRAWN] if overdrawn else ())}
    return frozenset(found | (set() if step in (None, Action.NONE) else {f"{STEP}{step}"}))


def marked(keys: frozenset[str], untold: Iterable[Change]) -> frozenset[str]:
    """Keys as the ledger keeps them, those to be told of among them."""
    return keys | {f"{UNTOLD}{direction}:{what}" for what, direction in untold}


def in_force(kept: Iterable[str]) -> frozenset[str]:
    """The keys in force of what the ledger keeps."""
    return frozenset(key for key in kept if not key.startswith(UNTOLD))


def told(window: int, kept: frozenset[str]) -> State:
    """What was told of what the ledger keeps: as if what is untold had not happened."""
    marks = {key.removeprefix(UNTOLD) for key in kept if key.startswith(UNTOLD)}
    came = {mark.removeprefix("up:") for mark in marks if mark.startswith("up:")}
    left = {mark.removeprefix("down:") for mark in marks if mark.startswith("down:")}
    return State(window - (ROLLED_OVER in came), (in_force(kept) - came) | left)


def changes(before: State | None, now: State) -> list[Change]:
    """What came into force or left it. A new window begins with nothing but the step that its cluster still keeps."""
    found: list[Change] = []
    known: Collection[str] = before.keys if before is not None else ()
    if before is not None and before.window != now.window:
        found += [(ROLLED_OVER, "up")] if before.window < now.window else []
        known = {key for key in known if key.startswith(STEP)}
    came = sorted(now.keys.difference(known))
    left = sorted(set(known) - now.keys)
    steps = any(key.startswith(STEP) for key in came)
    found += [(key, "up") for key in came]
    return found + [(key, "down") for key in left if not (steps and key.startswith(STEP))]


def keeping_step(now: State, before: State | None) -> State:
    """What is in force where nobody knows what the scheduler keeps: the step that was read back last stays."""
    kept = {key for key in (before.keys if before is not None else ()) if key.startswith(STEP)}
    return State(now.window, now.keys | kept)


def of_change(scene: Scene, window: int, change: Change) -> Happening:
    """The happening of one change."""
    what, direction = change
    figure, reason, action, note, is_loud = _told(scene, window, what, is_up=direction == "up")
    return Happening(scene.allocation, window, what, direction, scene.at, figure, reason, action, note, is_loud)


def of_entry(allocation: Obj, number: int, entry: Entry, scales: Scales) -> Happening | None:
    """Hours given or taken by hand; None for any other entry."""
    reason = BY_HAND.get(entry.kind)
    if reason is None:
        return None
    amounts = ", ".join(f"{_signed(scales, name, amount)} {name} hours" for name, amount in sorted(entry.amounts.items()))
    job = f" (job {entry.reference})" if entry.kind is EntryKind.REFUND and entry.reference else ""
    note = f"{amounts}{job} by {entry.author}: {entry.reason}"
    return Happening(allocation, number, str(entry.kind), "up", entry.at, 0, reason, str(entry.kind), note)


def of_gate(allocation: Obj, gate: str, at: int) -> Happening:
    """A gate was opened."""
    tranches = allocation["spec"].get("tranches") or ()
    percent = sum(item["percent"] for item in tranches if item.get("gate") == gate)
    note = f"gate {gate} is open: {percent} percent more of the hours may be used from now on"
    return Happening(allocation, 0, f"Gate@{gate}", "up", at, percent, Reason.GATE_OPENED, "Open", note)


def event(happening: Happening, now: datetime) -> dict[str, Any]:
    """Its Event: a warning where jobs feel it."""
    told = happening.name, happening.reason, happening.action, happening.note
    return events.event(happening.allocation, "Allocation", *told, now, is_loud=happening.is_loud)


Told = tuple[int, Reason, str, str, bool]
"""Figure, reason, action, note, whether it is a warning."""


def _told(scene: Scene, window: int, what: str, *, is_up: bool) -> Told:
    begin = format_instant(datetime.fromtimestamp(window, UTC))
    if what == ROLLED_OVER:
        return 0, Reason.ROLLED_OVER, "RollOver", f"the window of {begin} has begun ({_left(scene)})", False
    if what.startswith(STEP):
        return _step(scene, Action(what.removeprefix(STEP)), is_up=is_up)
    if what in (EXHAUSTED, OVERDRAWN):
        return _condition(scene, what, begin, is_up=is_up)
    return _threshold(scene, what, begin, is_up=is_up)


def _step(scene: Scene, action: Action, *, is_up: bool) -> Told:
    used = scene.percent("used")
    if is_up:
        note = f"the scheduler keeps {action} for this allocation: {DOES.get(action, str(action))}"
        return used, Reason.ENFORCEMENT_CHANGED, str(action), note, action in LOUD
    note = f"{action} is over for this allocation; the scheduler restricts it no more"
    return used, Reason.ENFORCEMENT_CHANGED, str(Action.NONE), note, False


def _condition(scene: Scene, what: str, begin: str, *, is_up: bool) -> Told:
    used, note = scene.percent("used"), f"{_amounts(scene, 'used')}; window of {begin}"
    if what == EXHAUSTED:
        reason, said = (Reason.EXHAUSTED, "used up") if is_up else (Reason.NOT_EXHAUSTED, "hours are left again")
    else:
        reason, said = (Reason.OVERDRAWN, "overdrawn") if is_up else (Reason.NOT_OVERDRAWN, "no longer overdrawn")
    return used, reason, what, f"{said}: {note}", is_up


def _threshold(scene: Scene, key: str, begin: str, *, is_up: bool) -> Told:
    reason = Reason.THRESHOLD_CROSSED if is_up else Reason.THRESHOLD_CLEARED
    rule = next((item for item in scene.rules if item.key == key), None)
    if rule is None:
        return scene.percent("used"), reason, "None", f"the threshold {key} was taken out; what it did is undone", False
    percent = scene.percent(str(rule.basis))
    said = f"{percent} % {BASES[rule.basis]} ({_amounts(scene, str(rule.basis))}; window of {begin})"
    note = f"{said}: {rule.action} from {rule.percent} %." if is_up else f"{said}: {rule.action} is over."
    return percent, reason, str(rule.action), note, is_up and rule.action in LOUD


def _amounts(scene: Scene, basis: str) -> str:
    return ", ".join(
        f"{scene.scales.hours_used(name, figure):,} of {max(0, scene.scales.hours_used(name, item.room)):,} {name} hours"
        for name, item in sorted(scene.standings.items())
        if (figure := getattr(item, basis.lower())) is not None
    )


def _left(scene: Scene) -> str:
    items: Iterable[tuple[str, Standing]] = sorted(scene.standings.items())
    return ", ".join(f"{scene.scales.hours_left(name, item.room - item.used):,} {name} hours left" for name, item in items)


def _signed(scales: Scales, name: str, amount: int) -> str:
    return f"+{scales.hours_left(name, amount):,}" if amount >= 0 else f"-{scales.hours_used(name, -amount):,}"
