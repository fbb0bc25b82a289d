"""The ledger's tables, read with SQL alone: what agents are told, what they have read back."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bursar_testing.checker.amounts import Json

TOMBSTONE = 2**53
Key = tuple[str, str]


@dataclass(slots=True)
class News:
    """What is new since the last look, ready to be written down."""

    told: list[Json] = field(default_factory=list)
    acks: list[tuple[str, int]] = field(default_factory=list)
    agents: list[tuple[str, int]] = field(default_factory=list)
    graves: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, object]:
        """The fields that are not empty."""
        fields = {"told": self.told, "acks": self.acks, "agents": self.agents, "graves": self.graves}
        return {name: value for name, value in fields.items() if value}


class Tables:
    """Read-only; `look` reads everything in one transaction and says what changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._generations: dict[str, int] = {}
        self._told: dict[Key, dict[str, tuple[int, Mapping[str, int]]]] = {}
        self._acks: dict[str, int] = {}
        self._agents: dict[str, int] = {}
        self._graves: set[str] = set()

    def look(self) -> News:
        """What changed since the last look; nothing while the tables are not there."""
        if not self._path.exists():
            return News()
        if self._connection is None:
            self._connection = sqlite3.connect(
                f"file:{self._path}?mode=ro", uri=True, timeout=30, isolation_level=None, check_same_thread=False
            )
        news = News()
        self._connection.execute("BEGIN")
        try:
            self._look(self._connection, news)
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
        finally:
            self._connection.execute("ROLLBACK")
        return news

    def close(self) -> None:
        """Give the file back."""
        if self._connection is not None:
            self._connection.close()

    def _look(self, connection: sqlite3.Connection, news: News) -> None:
        known = connection.execute("SELECT cluster, generation FROM desired_heads").fetchall()
        for cluster, generation in known:
            if generation != self._generations.get(cluster):
                self._read_entries(connection, news, cluster)
                self._generations[cluster] = generation
        for uid, revision in connection.execute("SELECT uid, revision FROM acknowledgements"):
            if self._acks.get(uid) != revision:
                self._acks[uid] = revision
                news.acks.append((uid, revision))
        for cluster, generation in connection.execute("SELECT cluster, generation FROM agent_status"):
            if self._agents.get(cluster) != generation:
                self._agents[cluster] = generation
                news.agents.append((cluster, generation))
        for (uid,) in connection.execute("SELECT uid FROM desired_grants WHERE revision >= ?", (TOMBSTONE,)):
            if uid not in self._graves:
                self._graves.add(uid)
                news.graves.append(uid)

    def _read_entries(self, connection: sqlite3.Connection, news: News, cluster: str) -> None:
        query = "SELECT account, generation, entry FROM desired_entries WHERE cluster = ? AND generation > ?"
        for account, generation, text in connection.execute(query, (cluster, self._generations.get(cluster, -1))):
            found = {item["uid"]: item for item in orjson.loads(text).get("allocations") or ()}
            before = self._told.get((cluster, account), {})
            now = {uid: (int(item["grantRevision"]), item["granted"]) for uid, item in found.items()}
            for uid, (revision, granted) in now.items():
                if before.get(uid) != (revision, granted):
                    news.told.append(_told(uid, cluster, generation, revision, granted))
            news.told.extend(_told(uid, cluster, generation, None, {}) for uid in before if uid not in now)
            self._told[cluster, account] = now


def _told(uid: str, cluster: str, generation: int, revision: int | None, granted: Mapping[str, int]) -> Json:
    return {"uid": uid, "cluster": cluster, "generation": generation, "revision": revision, "granted": granted}
