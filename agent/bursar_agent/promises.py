"""What this agent has given its word on: allocations that it stated are gone at the scheduler, and so never gives back.

A statement is made while the agent does not run. When it runs again, its last verified state may still grant those hours; they
stay closed until the control plane says so itself.
"""

from pathlib import Path
from typing import Final

import orjson

from bursar_agent.files import DamagedFile, replace
from bursar_agent.verify import DesiredState
from bursar_domain.wire import AccountEntry, AllocationEntry

FILE: Final = "released.json"


class Promises:
    """`released.json` of the state directory: allocation uid -> revision that is gone, and since when (scheduler's clock)."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._kept = self._read()
        self._last: tuple[DesiredState, DesiredState] | None = None

    def give(self, uid: str, revision: int, at: int) -> None:
        """On disk before the statement is shown to anybody."""
        self._kept[uid] = (revision, at)
        replace(self._path, orjson.dumps(self._kept))

    def kept(self, state: DesiredState) -> DesiredState:
        """The state without what was promised; the very same where it grants nothing of that."""
        if not self._kept:
            return state
        if self._last is None or self._last[0] is not state:
            self._last = state, self._without(state)
        return self._last[1]

    def _without(self, state: DesiredState) -> DesiredState:
        changed = {entry.account: self._closed(entry) for entry in state.entries.values() if self._concerns(entry)}
        if not changed:
            return state
        digests = {name: entry.digest() for name, entry in changed.items()}
        return DesiredState(state.signed, state.settings, {**state.entries, **changed}, {**state.digests, **digests})

    def _concerns(self, entry: AccountEntry) -> bool:
        return any(self._is_granted(item) for item in entry.allocations)

    def _is_granted(self, item: AllocationEntry) -> bool:
        """Whether the state is one from before the hours were taken back."""
        return item.uid in self._kept and item.grant_revision < self._kept[item.uid][0]

    def _closed(self, entry: AccountEntry) -> AccountEntry:
        allocations = tuple(self._taken_back(item) if self._is_granted(item) else item for item in entry.allocations)
        return entry.model_copy(update={"allocations": allocations})

    def _taken_back(self, item: AllocationEntry) -> AllocationEntry:
        return item.model_copy(update={"granted": dict.fromkeys(item.granted, 0), "closed_from": self._kept[item.uid][1]})

    def _read(self) -> dict[str, tuple[int, int]]:
        if not self._path.exists():
            return {}
        try:
            return {str(uid): (int(revision), int(at)) for uid, (revision, at) in orjson.loads(self._path.read_bytes()).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise DamagedFile(f"{self._path}: not what was written; limits that were stated gone might come back") from error
