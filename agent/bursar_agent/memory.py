"""What the agent remembers of each account: what it last proved at the scheduler, and from which entry."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson


@dataclass(frozen=True, slots=True)
class AccountMemory:
    """One account after its last proven cycle.

    ``room``: granted unit-seconds of the active allocations by resource; ``rules``: thresholds in force by allocation uid;
    ``limits``: TRES-minutes as last written (-1: none).
    """

    account: str
    entry_digest: str = ""
    active: tuple[str, ...] = ()
    room: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    members: tuple[str, ...] = ()
    held: bool = False

    def dump(self) -> dict[str, object]:
        """As it is journalled."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def load(cls, fields: Mapping[str, object]) -> "AccountMemory":
        """What `dump` gave, after a way through JSON."""
        known = {name: value for name, value in fields.items() if name in cls.__dataclass_fields__}
        data = orjson.loads(orjson.dumps(known))
        lists = {name: tuple(data.get(name, ())) for name in ("active", "members")}
        rules = {uid: tuple(keys) for uid, keys in data.get("rules", {}).items()}
        return cls(**(data | lists | {"rules": rules}))
