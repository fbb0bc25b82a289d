"""What the pool writer asks about allocations."""

from collections.abc import Collection
from typing import Protocol

from bursar_operator.domain.grant import Operation
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.poolstatus import Listed
from bursar_operator.domain.rows import Row

Key = tuple[str, str]
"""Namespace and name."""


class Allocations(Protocol):
    """What the pool writer asks about allocations."""

    def row(self, uid: str) -> Row | None:
        """The newest copy; None where there is no such allocation."""

    def leaf(self, row: Row) -> str | None:
        """The pool that it draws on."""

    def operations(self, uid: str) -> tuple[Operation, ...]:
        """What it wants to open now; nothing where that is over."""

    def held(self, namespace: str, cluster: str, pools: Collection[str]) -> Hours:
        """What the project of a namespace holds of these leaf pools: charges, and what those that are gone have used."""

    def look(self, key: Key) -> None:
        """Have the allocation looked at."""

    def help_hindered(self) -> None:
        """Pools came into use: look at those that something other than room hinders."""

    async def quorum(self) -> Listed:
        """Every allocation, read from the API server after this call began, and which clusters are not settled by it."""
