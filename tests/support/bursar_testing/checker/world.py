"""The state of everything after each write, and what each pool has to hold then."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from bursar_testing.checker.amounts import Amounts, added, less
from bursar_testing.checker.history import POOLS, Version
from bursar_testing.checker.objects import Allocation, Pool


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not be. `kind`: violation, lost or stuck; `rule`: I1 to I5, dry-run, gap, lost or stuck."""

    kind: str
    rule: str
    at: int
    """Revision of the store."""
    words: str

    def as_json(self) -> Mapping[str, object]:
        """For the report."""
        return {"kind": self.kind, "rule": self.rule, "revision": self.at, "words": self.words}


@dataclass(slots=True)
class Change:
    """One write: what stood there before, and what it left."""

    version: Version
    pool_before: Pool | None = None
    allocation_before: Allocation | None = None


@dataclass(slots=True)
class World:
    """Everything as it stands after the writes that were taken in."""

    pools: dict[str, Pool] = field(default_factory=dict)
    allocations: dict[str, Allocation] = field(default_factory=dict)
    """By uid."""
    gone: dict[str, Allocation] = field(default_factory=dict)
    """Allocations that were deleted, as they were last."""
    spent: dict[tuple[str, str], Amounts] = field(default_factory=dict)
    """Pool and namespace -> what allocations that went have used of it, as their last operations say."""
    _keys: dict[str, str] = field(default_factory=dict)
    _charged: dict[str, Amounts] = field(default_factory=dict)
    """Leaf -> what its allocations are charged."""

    def take(self, version: Version) -> Change:
        """Take a write in."""
        name = version.key.split("/", 1)[1]
        if version.resource == POOLS:
            before = self.pools.pop(name, None)
            self._book_spent(name, before, version.pool)
            if version.pool is not None:
                self.pools[name] = version.pool
            return Change(version, pool_before=before)
        return Change(version, allocation_before=self._take_allocation(version))

    def _take_allocation(self, version: Version) -> Allocation | None:
        uid = self._keys.pop(version.key, None)
        before = None if uid is None else self.allocations.pop(uid)
        self._count(before, version.allocation)
        if version.allocation is not None:
            self._keys[version.key] = version.allocation.uid
            self.allocations[version.allocation.uid] = version.allocation
        elif before is not None:
            self.gone[before.uid] = before
        return before

    def _book_spent(self, name: str, before: Pool | None, after: Pool | None) -> None:
        for uid, item in (before.intents if before and after else {}).items():
            row = self.decided(uid)
            if uid not in (after.intents if after else {}) and row is not None and row.charge_sequence == item.number:
                key = name, item.namespace
                self.spent[key] = added(self.spent.get(key, {}), item.spend)

    def _count(self, before: Allocation | None, after: Allocation | None) -> None:
        if before is not None and before.leaf is not None:
            self._charged[before.leaf] = less(self._charged.get(before.leaf, {}), before.charged)
        if after is not None and after.leaf is not None:
            self._charged[after.leaf] = added(self._charged.get(after.leaf, {}), after.charged)

    def path(self, leaf: str | None) -> list[Pool]:
        """The pools from a leaf up to its root, as far as they are there."""
        found: list[Pool] = []
        while leaf is not None and leaf in self.pools and self.pools[leaf] not in found:
            found.append(self.pools[leaf])
            leaf = self.pools[leaf].parent
        return found

    def below(self, name: str) -> Iterator[Pool]:
        """Pools that hang on this one."""
        return (pool for pool in self.pools.values() if pool.parent == name)

    def tree(self, name: str) -> Iterator[str]:
        """The pool's name and those of all below it."""
        yield name
        for pool in self.below(name):
            yield from self.tree(pool.name)

    def charged(self, name: str) -> dict[str, int]:
        """What the allocations of a pool and of those below it are charged."""
        return added(*(self._charged.get(leaf, {}) for leaf in self.tree(name)))

    def of_project(self, name: str, namespace: str) -> Iterable[Allocation]:
        """A namespace's allocations in a pool and in those below it."""
        leaves = set(self.tree(name))
        return (item for item in self.allocations.values() if item.namespace == namespace and item.leaf in leaves)

    def decided(self, uid: str) -> Allocation | None:
        """An allocation as it is, or as it was when it went."""
        return self.allocations.get(uid) or self.gone.get(uid)
