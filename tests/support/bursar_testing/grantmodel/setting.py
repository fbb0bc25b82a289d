"""How large an explored world is: pools, allocations, what users ask for, and how often what may go wrong."""

from dataclasses import dataclass

Vec = tuple[int, ...]
"""Hours, resource by resource."""

RESOURCES = ("cpu", "gpu")


@dataclass(frozen=True, slots=True)
class Setting:
    """One world. Counts are budgets: so many of these happen at most on one way."""

    parents: tuple[int | None, ...] = (None,)
    """The pool above each pool; the first is the root."""
    limits: tuple[Vec, ...] = ((2,),)
    caps: tuple[tuple[int, Vec], ...] = ()
    """Pools of which one project may hold no more than so much; all allocations are of one project."""
    pool_of: tuple[int, ...] = (0,)
    """The pool that each allocation draws on."""
    wants: tuple[Vec, ...] = ((1,), (2,))
    users: int = 2
    """Objects created, specs changed and objects deleted by users."""
    lives: int = 1
    """How often a name is used."""
    takeovers: int = 1
    leaders: int = 2
    """Terms that may act side by side; with 1, an earlier one writes nothing more, but for what is under way."""
    lost: int = 1
    """Answers of writes that are lost."""
    slow: int = 0
    """Writes that are under way while others act."""
    uses: int = 0
    """Hours that jobs use."""
    jobs: int = 0
    """Jobs that run for a while: what they may use is committed."""
    limited: tuple[tuple[int, Vec], ...] = ()
    """Limits of pools that are changed, in this order."""
    torn: int = 0
    """Finalizers taken by force."""
    edits: int = 0
    """Hand edits of an allocation's status."""
    pool_edits: int = 0
    """Hand edits of a pool's status."""
    late: bool = False
    """Whether acknowledgements are under way for a while, and old ones may come after."""
    stamped: bool = True
    """Whether policy stamps the finalizer on create."""
    fresh: bool = False
    """Whether the pools come without a term: nothing is granted before they were counted."""

    @property
    def resources(self) -> tuple[str, ...]:
        """Names of the resources."""
        return RESOURCES[: len(self.limits[0])]

    @property
    def zero(self) -> Vec:
        """Nothing."""
        return (0,) * len(self.limits[0])

    @property
    def recounts(self) -> bool:
        """Whether totals may differ from the sum, so that recounts are explored."""
        return bool(self.torn or self.edits or self.pool_edits or self.fresh)

    def path(self, pool: int) -> tuple[int, ...]:
        """From the root to the pool."""
        above = self.parents[pool]
        return (pool,) if above is None else (*self.path(above), pool)
