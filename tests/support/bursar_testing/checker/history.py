"""The history that was written down: versions in the order of the store, and what the ledger's tables said in between.

One JSON object a line. `version`: a stored object at its revision (null once it is deleted). `poll`: the tables were read
between two revisions of the store, and what was new in them. `lease`: the leader's Lease was written. `gap`: something was
missed, so that nothing is proven.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bursar_testing.checker.amounts import Amounts, Json, of_map
from bursar_testing.checker.objects import Allocation, Pool, allocation_of, pool_of

POOLS, ALLOCATIONS = "quotapools", "allocations"


@dataclass(frozen=True, slots=True)
class Version:
    """An object as one write left it; both None: the write deleted it."""

    at: float
    revision: int
    key: str
    pool: Pool | None = None
    allocation: Allocation | None = None

    @property
    def resource(self) -> str:
        """Plural of its kind."""
        return self.key.split("/", 1)[0]


@dataclass(frozen=True, slots=True)
class Told:
    """What the agent of a cluster is told of an allocation; `revision` is None once it is told nothing any more."""

    uid: str
    cluster: str
    generation: int
    revision: int | None
    granted: Amounts


@dataclass(frozen=True, slots=True)
class Poll:
    """One look at the tables, taken while the store stood at a revision from `low` to `high`: what had changed."""

    at: float
    low: int
    high: int
    told: tuple[Told, ...] = ()
    acks: tuple[tuple[str, int], ...] = ()
    agents: tuple[tuple[str, int], ...] = ()
    """Cluster and the generation that its agent has done."""
    graves: tuple[str, ...] = ()
    """Allocations that nothing may be published for any more."""


@dataclass(slots=True)
class History:
    """Everything in order."""

    versions: list[Version] = field(default_factory=list)
    polls: list[Poll] = field(default_factory=list)
    gaps: list[str] = field(default_factory=list)
    renewals: list[float] = field(default_factory=list)
    """When the leader's Lease was written."""
    last_at: float = 0.0


def read(path: Path) -> History:
    """The history of a file."""
    with path.open("rb") as lines:
        return parse(orjson.loads(line) for line in lines if line.strip())


def parse(lines: Iterable[Json]) -> History:
    """The history of parsed lines; versions that do not follow each other are gaps."""
    history = History()
    for line in lines:
        history.last_at = max(history.last_at, float(line.get("at") or 0.0))
        match line["kind"]:
            case "version":
                history.versions.append(_version(line))
            case "poll":
                history.polls.append(_poll(line))
            case "lease":
                history.renewals.append(float(line["at"]))
            case "gap":
                history.gaps.append(str(line["words"]))
    history.gaps.extend(_holes(history.versions))
    return history


def _version(line: Json) -> Version:
    found, key = line["object"], str(line["key"])
    of_pools = key.startswith(POOLS)
    return Version(
        at=float(line["at"]),
        revision=int(line["revision"]),
        key=key,
        pool=pool_of(found) if found and of_pools else None,
        allocation=allocation_of(found) if found and not of_pools else None,
    )


def _poll(line: Json) -> Poll:
    told = (
        Told(item["uid"], item["cluster"], int(item["generation"]), item["revision"], of_map(item["granted"]))
        for item in line.get("told") or ()
    )
    return Poll(
        at=float(line["at"]),
        low=int(line["low"]),
        high=int(line["high"]),
        told=tuple(told),
        acks=tuple((str(uid), int(revision)) for uid, revision in line.get("acks") or ()),
        agents=tuple((str(cluster), int(generation)) for cluster, generation in line.get("agents") or ()),
        graves=tuple(line.get("graves") or ()),
    )


def _holes(versions: Iterable[Version]) -> Iterator[str]:
    before = 0
    for version in versions:
        if version.revision < before:
            yield f"revision {version.revision} comes after {before}"
        before = version.revision
