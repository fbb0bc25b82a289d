"""What the clients of a race did."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Operations that were answered for good, by kind and answer; and how many are still to be made."""

    left: int
    answered: Counter[tuple[str, str]] = field(default_factory=Counter)
    unsure: Counter[str] = field(default_factory=Counter)
    """Calls whose answer was lost, or that were told to come again."""
    accepted: set[str] = field(default_factory=set)
    """Uids of allocations that the API server said it stored."""
    wrong: list[str] = field(default_factory=list)
    """What must not be and only a client can see."""

    @property
    def operations(self) -> int:
        """Operations that were answered for good."""
        return self.answered.total()

    def note(self, kind: str, answer: str) -> None:
        """One more operation."""
        self.answered[kind, answer] += 1
        self.left -= 1

    def in_words(self) -> str:
        """For people."""
        parts = [f"{kind} {answer}: {number}" for (kind, answer), number in sorted(self.answered.items())]
        return ", ".join(parts) + f"; without an answer: {self.unsure.total()}"
