"""The journal: what is about to be written at the scheduler, and what was proven, on disk before and after.

Two files in the state directory: `journal.jsonl`, each line on disk before the agent goes on, and `journal-snapshot.json`
with the sum of all lines up to its number. A crash at any point leaves a journal that resumes: an intent without its proof
leaves the account *in doubt*, which is read back and written anew.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from bursar_agent.brake import Engaged
from bursar_agent.files import DamagedFile, append_durably, read_lines, replace
from bursar_agent.memory import AccountMemory

LINES_BEFORE_SNAPSHOT = 2000


class Journal:
    """What the agent knows of its own doing."""

    def __init__(self, directory: Path) -> None:
        """Resume from what is on disk."""
        self._lines = directory / "journal.jsonl"
        self._snapshot = directory / "journal-snapshot.json"
        self.number = 0
        self.memories: dict[str, AccountMemory] = {}
        self.in_doubt: set[str] = set()
        self.engaged: Engaged | None = None
        self._since_snapshot = 0
        self._load()

    def intend(self, accounts: Iterable[str], generation: int) -> None:
        """The changes of these accounts are about to be written."""
        names = sorted(accounts)
        self._append([{"kind": "intent", "accounts": names, "generation": generation}])

    def prove(self, memories: Iterable[AccountMemory]) -> None:
        """These accounts are now as remembered here; those that are known already cost nothing."""
        fresh = [m for m in memories if self.memories.get(m.account) != m or m.account in self.in_doubt]
        self._append([{"kind": "proven", "memory": memory.dump()} for memory in fresh])

    def settle(self, account: str) -> None:
        """The write to this account, of which nothing is remembered, is proven."""
        if account in self.in_doubt:
            self._append([{"kind": "settled", "account": account}])

    def set_brake(self, engaged: Engaged | None) -> None:
        """Remember for which generation the brake holds, or that it does not."""
        if engaged != self.engaged:
            state = None if engaged is None else [engaged.generation, sorted(engaged.accounts)]
            self._append([{"kind": "brake", "engaged": state}])

    def _append(self, lines: list[dict[str, object]]) -> None:
        if not lines:
            return
        numbered = [{"n": self.number + index, **line} for index, line in enumerate(lines, 1)]
        append_durably(self._lines, numbered)
        for line in numbered:
            self._take(line)
        self._since_snapshot += len(numbered)
        if self._since_snapshot >= LINES_BEFORE_SNAPSHOT:
            self.compact()

    def compact(self) -> None:
        """Write the sum of all lines, then begin an empty journal; lines that the sum holds are skipped on the way back."""
        replace(self._snapshot, orjson.dumps(self._dump()))
        replace(self._lines, b"")
        self._since_snapshot = 0

    def _dump(self) -> Mapping[str, object]:
        return {
            "n": self.number,
            "memories": [memory.dump() for memory in self.memories.values()],
            "in_doubt": sorted(self.in_doubt),
            "brake": None if self.engaged is None else [self.engaged.generation, sorted(self.engaged.accounts)],
        }

    def _load(self) -> None:
        if self._snapshot.exists():
            try:
                self._restore(orjson.loads(self._snapshot.read_bytes()))
            except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                raise DamagedFile(f"{self._snapshot}: not what was written; move it away to begin anew") from error
        for line in read_lines(self._lines):
            if isinstance(line.get("n"), int) and int(str(line["n"])) > self.number:
                self._take(line)
                self._since_snapshot += 1

    def _restore(self, snapshot: Mapping[str, Any]) -> None:
        self.number = snapshot["n"]
        self.memories = {fields["account"]: AccountMemory.load(fields) for fields in snapshot["memories"]}
        self.in_doubt = set(snapshot["in_doubt"])
        self.engaged = _engaged(snapshot["brake"])

    def _take(self, line: Mapping[str, Any]) -> None:
        self.number = line["n"]
        match line["kind"]:
            case "intent":
                self.in_doubt |= set(line["accounts"])
            case "proven":
                memory = AccountMemory.load(line["memory"])
                self.memories[memory.account] = memory
                self.in_doubt.discard(memory.account)
            case "settled":
                self.in_doubt.discard(line["account"])
            case "brake":
                self.engaged = _engaged(line["engaged"])


def _engaged(state: Any) -> Engaged | None:
    return None if state is None else Engaged(state[0], frozenset(state[1]))
