"""Condition lists as they stand in `status.conditions`: plain dictionaries, changed by pure functions."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bursar_crds.instants import format_instant

READY: Final = "Ready"
MESSAGE_MAXIMUM: Final = 4096

ConditionDict = dict[str, Any]


def find_condition(conditions: Iterable[Mapping[str, Any]] | None, type_: str) -> Mapping[str, Any] | None:
    """The condition of that type, or None."""
    return next((item for item in conditions or () if item.get("type") == type_), None)


def is_true(conditions: Iterable[Mapping[str, Any]] | None, type_: str) -> bool:
    """Whether the condition is there and holds."""
    found = find_condition(conditions, type_)
    return found is not None and found.get("status") == "True"


def set_condition(
    conditions: Sequence[Mapping[str, Any]] | None,
    type_: str,
    status: bool | str,
    reason: str,
    message: str,
    now: datetime,
    generation: int | None = None,
) -> list[ConditionDict]:
    """The list with this condition set, Ready first and the others by type.

    `lastTransitionTime` moves only when the status does, so setting what is already so returns an equal list.
    """
    before = find_condition(conditions, type_)
    stated = _status(status)
    kept = before is not None and before.get("status") == stated
    entry: ConditionDict = {
        "type": type_,
        "status": stated,
        "reason": str(reason),
        "message": shorten(message),
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and kept else format_instant(now),
    }
    if generation is not None:
        entry["observedGeneration"] = generation
    others = [dict(item) for item in conditions or () if item.get("type") != type_]
    return order([*others, entry])


def remove_condition(conditions: Iterable[Mapping[str, Any]] | None, type_: str) -> list[ConditionDict]:
    """The list without the condition of that type."""
    return [dict(item) for item in conditions or () if item.get("type") != type_]


def order(conditions: Iterable[ConditionDict]) -> list[ConditionDict]:
    """Ready first, the others by type."""
    return sorted(conditions, key=lambda item: (item.get("type") != READY, str(item.get("type"))))


def shorten(message: str) -> str:
    """The message, cut where the schema would refuse it."""
    return message if len(message) <= MESSAGE_MAXIMUM else f"{message[: MESSAGE_MAXIMUM - 1]}…"


def _status(status: bool | str) -> str:
    return status if isinstance(status, str) else ("True" if status else "False")
