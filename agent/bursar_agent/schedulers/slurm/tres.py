"""TRES as Slurm's commands write them: `cpu=4,mem=600G,gres/gpu:a100=2`; memory counts in MiB."""

import re
from collections.abc import Mapping
from typing import Final

_ITEM: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9._:/-]*)=(?P<amount>[0-9]+)(?P<suffix>[KMGTPE]?)")
_POWERS: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_MEMORY: Final = "mem"
_MEMORY_BASE: Final = 2  # a bare number is MiB


def parse(text: str) -> dict[str, int]:
    """Whole amounts by name; anything else is a ValueError. Slurm shortens exact multiples only, so suffixes lose nothing."""
    return dict(_item(part) for part in text.split(",")) if text else {}


def _item(text: str) -> tuple[str, int]:
    match = _ITEM.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not name=number")
    name, amount, suffix = match["name"], int(match["amount"]), match["suffix"]
    power = _POWERS[suffix]
    if name != _MEMORY:
        return name, amount * 1024**power
    power = power if suffix else _MEMORY_BASE
    if power < _MEMORY_BASE:
        return name, -(-amount // 1024 ** (_MEMORY_BASE - power))
    return name, amount * 1024 ** (power - _MEMORY_BASE)


def render(amounts: Mapping[str, int]) -> str:
    """The argument form, in order of name so that equal maps make equal text."""
    return ",".join(f"{name}={amount}" for name, amount in sorted(amounts.items()))


def amount_of(held: Mapping[str, int], trackable: str) -> int:
    """What a job holds of a TRES; where only types of a gres are listed, their sum, never both."""
    if trackable in held:
        return held[trackable]
    return sum(amount for name, amount in held.items() if name.startswith(f"{trackable}:"))
