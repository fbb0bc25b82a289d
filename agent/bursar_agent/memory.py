"""What the agent remembers of each account: what it last proved at the scheduler, and from which entry."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

_OLD_RULE: Final = re.compile(r"@(\d+)$")


@dataclass(frozen=True, slots=True)
class Known:
    """The window of an allocation that ran: what it had by entries alone, grace included, in unit-seconds by resource.

    ``until``: end of the allocation's last window and of the grace after it.
    """

    start: int
    end: int
    until: int
    room: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AccountMemory:
    """One account after its last proven cycle.

    ``windows``: those that ran, by allocation uid; ``room``: all of them together by resource; ``rules``: thresholds in force
    by allocation uid; ``limits``: TRES-minutes as last written (-1: none); ``caps``: units in use at one time by TRES, where a
    threshold set them; ``held``, ``blocked``, ``qos``: as last written. In limit mode QOS ``qoses``: the limits of its QOSes
    by name, those of allocations that are over among them; ``qos_list``: which of them its jobs may have, the default first.
    """

    account: str
    entry_digest: str = ""
    windows: Mapping[str, Known] = field(default_factory=dict)
    room: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    caps: Mapping[str, int] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    held: bool = False
    blocked: bool = False
    qos: str = ""
    qoses: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    qos_list: tuple[str, ...] = ()

    def starts(self) -> dict[str, int]:
        """Allocation uid -> start of the window that ran."""
        return {uid: window.start for uid, window in self.windows.items()}

    def dump(self) -> dict[str, object]:
        """As it is journalled."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def load(cls, fields: Mapping[str, object]) -> "AccountMemory":
        """What `dump` gave, after a way through JSON; what an older agent wrote as well."""
        known = {name: value for name, value in fields.items() if name in cls.__dataclass_fields__}
        data: dict[str, Any] = orjson.loads(orjson.dumps(known))
        windows = {uid: Known(**window) for uid, window in data.get("windows", {}).items()}
        rules = {uid: tuple(_OLD_RULE.sub(r"@Used\1", key) for key in keys) for uid, keys in data.get("rules", {}).items()}
        lists = {name: tuple(data.get(name, ())) for name in ("members", "qos_list")}
        return cls(**(data | lists | {"windows": windows, "rules": rules}))
