"""Tables: what the ledger remembers. JSON columns hold canonical text, amounts are whole unit-seconds, times epoch seconds."""

from sqlalchemy import BigInteger, Float, ForeignKey, Index, MetaData, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_name)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "fk": "fk_%(table_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


# Compared by bytes on both: SQLite always does, PostgreSQL would follow the database's language.
TEXT = Text().with_variant(Text(collation="C"), "postgresql")
BY_MONTH = "RANGE (hour)"


class Base(DeclarativeBase):
    """Names every constraint, so that migrations can alter it."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {int: BigInteger, str: TEXT, float: Float}  # noqa: RUF012 - read by SQLAlchemy


class Head(Base):
    """One cluster's published desired state: settings and signed root. ``signing`` grows whenever the root is signed anew."""

    __tablename__ = "desired_heads"
    cluster: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    generation: Mapped[int]
    signing: Mapped[int]
    acknowledged: Mapped[int]
    valid_until: Mapped[int]
    settings: Mapped[str]
    root: Mapped[str]


class Entry(Base):
    """One account as published; ``generation`` is the one that changed it last."""

    __tablename__ = "desired_entries"
    __table_args__ = (Index("ix_desired_entries_generation", "cluster", "generation"), {"sqlite_with_rowid": False})
    cluster: Mapped[str] = mapped_column(ForeignKey("desired_heads.cluster"), primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    digest: Mapped[str]
    entry: Mapped[str]


class Grant(Base):
    """The highest revision published for an allocation's uid; a tombstone has the highest there is."""

    __tablename__ = "desired_grants"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - read by SQLAlchemy
    uid: Mapped[str] = mapped_column(primary_key=True)
    cluster: Mapped[str]
    account: Mapped[str]
    revision: Mapped[int]
    granted: Mapped[str]
    entry: Mapped[str]


class Enrolment(Base):
    """An agent's request to be let in; the operator decides."""

    __tablename__ = "enrolments"
    id: Mapped[str] = mapped_column(primary_key=True)
    cluster: Mapped[str] = mapped_column(index=True)
    public_key: Mapped[str]
    mac: Mapped[str]
    requested_at: Mapped[int]
    state: Mapped[str] = mapped_column(index=True)
    message: Mapped[str]


class Agent(Base):
    """The session that holds a cluster, and what it said first."""

    __tablename__ = "agents"
    cluster: Mapped[str] = mapped_column(primary_key=True)
    session: Mapped[str]
    last_seen: Mapped[int]
    skew_seconds: Mapped[int]
    hello: Mapped[str]


class Status(Base):
    """The last status report of a cluster, accounts apart."""

    __tablename__ = "agent_status"
    cluster: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int]
    digest: Mapped[str]
    scheduler_time: Mapped[int]
    enforced_at: Mapped[int]
    brake: Mapped[str | None]
    misses: Mapped[str]


class State(Base):
    """One account as the agent saw it after read-back."""

    __tablename__ = "account_states"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - read by SQLAlchemy
    cluster: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]


class Acknowledgement(Base):
    """The revision of an allocation that was read back from the scheduler, and when (wall clock of the agent)."""

    __tablename__ = "acknowledgements"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - read by SQLAlchemy
    cluster: Mapped[str] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int]
    at: Mapped[float]


class StatedRelease(Base):
    """A signed statement (JSON) that was taken in place of an agent's report; ``taken_at`` by our clock."""

    __tablename__ = "release_statements"
    uid: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True)
    cluster: Mapped[str]
    taken_at: Mapped[int]
    document: Mapped[str]


class Report(Base):
    """A report that was taken in, with its receipt: the same one again changes nothing."""

    __tablename__ = "reports"
    __table_args__ = (Index("ix_reports_at", "cluster", "at"),)
    cluster: Mapped[str] = mapped_column(primary_key=True)
    report: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[int]
    accepted: Mapped[int]
    dropped: Mapped[int]
    staged: Mapped[int]
    refused: Mapped[str]


class Slot(Base):
    """Version of one usage slot (cluster, account, UTC hour); ``rolled`` is 1 for the first hour of a day kept as one."""

    __tablename__ = "usage_slots"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - read by SQLAlchemy
    cluster: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    seq: Mapped[int]
    rolled: Mapped[int]


class Bucket(Base):
    """One row of a slot: allocated and refunded unit-seconds of each quarter hour."""

    __tablename__ = "usage_buckets"
    __table_args__ = {"sqlite_with_rowid": False, "postgresql_partition_by": BY_MONTH}  # noqa: RUF012 - read by SQLAlchemy
    cluster: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[int] = mapped_column(primary_key=True)
    user: Mapped[str] = mapped_column(primary_key=True)
    resource: Mapped[str] = mapped_column(primary_key=True)
    allocated_0: Mapped[int]
    allocated_1: Mapped[int]
    allocated_2: Mapped[int]
    allocated_3: Mapped[int]
    refunded_0: Mapped[int]
    refunded_1: Mapped[int]
    refunded_2: Mapped[int]
    refunded_3: Mapped[int]


class Hour(Base):
    """The buckets of a slot summed over its users: unit-seconds charged of each quarter hour, and of all four."""

    __tablename__ = "usage_hours"
    __table_args__ = {"sqlite_with_rowid": False, "postgresql_partition_by": BY_MONTH}  # noqa: RUF012 - read by SQLAlchemy
    cluster: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[int] = mapped_column(primary_key=True)
    resource: Mapped[str] = mapped_column(primary_key=True)
    charged: Mapped[int]
    charged_0: Mapped[int]
    charged_1: Mapped[int]
    charged_2: Mapped[int]
    charged_3: Mapped[int]


class Staged(Base):
    """A slot of a rebuild whose last page has not come: it counts for nothing yet. ``rows`` is JSON."""

    __tablename__ = "usage_staged"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - read by SQLAlchemy
    cluster: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[int] = mapped_column(primary_key=True)
    seq: Mapped[int]
    at: Mapped[int]
    rows: Mapped[str]


class Rebuild(Base):
    """An epoch that counts: lower ones are void in ``[since, until)``, which is empty for the first epoch there was."""

    __tablename__ = "usage_rebuilds"
    cluster: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    since: Mapped[int]
    until: Mapped[int]


class Newest(Base):
    """The greatest version of a slot that an agent ever told of the cluster, taken or refused."""

    __tablename__ = "usage_newest"
    cluster: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    seq: Mapped[int]


class Watermark(Base):
    """How far a cluster's use is known, in seconds of the scheduler's clock.

    ``watermark`` is the second up to which use is complete, ``epoch`` the rebuild it belongs to; ``closed_to`` is the highest
    watermark there ever was: what it has closed stays closed when a rebuild begins anew. Days before ``rolled_before`` may be
    kept as one.
    """

    __tablename__ = "usage_watermarks"
    cluster: Mapped[str] = mapped_column(primary_key=True)
    epoch: Mapped[int]
    watermark: Mapped[int]
    closed_to: Mapped[int]
    rolled_before: Mapped[int]


class Change(Base):
    """Newest change of a kind to an account (empty: to the cluster as a whole): one row each, so the feed stays small."""

    __tablename__ = "changes"
    cluster: Mapped[str] = mapped_column(primary_key=True)
    account: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(index=True)


class BookEntry(Base):
    """One booking of the chain, append-only; see `bursar_domain.entries.Entry`. ``previous`` is the hash of the one before."""

    __tablename__ = "entries"
    __table_args__ = (
        Index("ix_entries_account", "cluster", "account", "number"),
        Index("ix_entries_uid", "uid", "number"),
        Index("ix_entries_reference", "cluster", "reference"),
    )
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    cluster: Mapped[str]
    account: Mapped[str]
    at: Mapped[int]
    author: Mapped[str]
    reason: Mapped[str]
    uid: Mapped[str]
    namespace: Mapped[str]
    name: Mapped[str]
    amounts: Mapped[str]
    window: Mapped[int | None]
    reference: Mapped[str]
    rows: Mapped[str]
    request: Mapped[str]
    recorded_at: Mapped[int]
    previous: Mapped[str]
    hash: Mapped[str]


class ChainHead(Base):
    """The newest row of a chain, so that it shows when last rows were removed."""

    __tablename__ = "chain_heads"
    name: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]
    hash: Mapped[str]


class Firing(Base):
    """A threshold that was crossed in a window, once for each direction; ``figure`` in percent."""

    __tablename__ = "firings"
    uid: Mapped[str] = mapped_column(primary_key=True)
    window: Mapped[int] = mapped_column(primary_key=True)
    rule: Mapped[str] = mapped_column(primary_key=True)
    direction: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[int]
    figure: Mapped[int]


class RulesInForce(Base):
    """Rules in force of an allocation in the window that it was in last; ``keys`` is a JSON list."""

    __tablename__ = "rules_in_force"
    uid: Mapped[str] = mapped_column(primary_key=True)
    window: Mapped[int]
    keys: Mapped[str]
    since: Mapped[int]


def table(model: type[Base]) -> Table:
    """The table behind a model."""
    found = model.__table__
    assert isinstance(found, Table)  # noqa: S101 - every model above is one table
    return found
