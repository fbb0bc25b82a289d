"""The form of a benchmark's result."""

from typing import NotRequired, TypedDict


class Row(TypedDict):
    """One figure: `ratio` is value to baseline of the same run; `bar` says in words what was aimed at, `met` whether it was."""

    name: str
    value: float | None
    unit: str
    baseline: float | None
    ratio: float | None
    bar: str | None
    met: bool | None
    note: NotRequired[str]
