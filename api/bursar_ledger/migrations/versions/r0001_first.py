"""First schema: desired state, agents, usage, change feed."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels: str | None = None
depends_on: str | None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BY_MONTH = "RANGE (hour)"


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "account_states",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("cluster", "account", name=op.f("pk_account_states")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "acknowledgements",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "uid", name=op.f("pk_acknowledgements")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "agent_status",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("scheduler_time", sa.BigInteger(), nullable=False),
        sa.Column("enforced_at", sa.BigInteger(), nullable=False),
        sa.Column("brake", TEXT, nullable=True),
        sa.Column("misses", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("cluster", name=op.f("pk_agent_status")),
    )
    op.create_table(
        "agents",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("session", TEXT, nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("skew_seconds", sa.BigInteger(), nullable=False),
        sa.Column("hello", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("cluster", name=op.f("pk_agents")),
    )
    op.create_table(
        "changes",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "account", "kind", name=op.f("pk_changes")),
    )
    op.create_index(op.f("ix_changes_number"), "changes", ["number"], unique=False)
    op.create_table(
        "desired_grants",
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("granted", TEXT, nullable=False),
        sa.Column("entry", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_desired_grants")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "desired_heads",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("signing", sa.BigInteger(), nullable=False),
        sa.Column("acknowledged", sa.BigInteger(), nullable=False),
        sa.Column("valid_until", sa.BigInteger(), nullable=False),
        sa.Column("settings", TEXT, nullable=False),
        sa.Column("root", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("cluster", name=op.f("pk_desired_heads")),
    )
    op.create_table(
        "enrolments",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("public_key", TEXT, nullable=False),
        sa.Column("mac", TEXT, nullable=False),
        sa.Column("requested_at", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolments")),
    )
    op.create_index(op.f("ix_enrolments_cluster"), "enrolments", ["cluster"], unique=False)
    op.create_index(op.f("ix_enrolments_state"), "enrolments", ["state"], unique=False)
    op.create_table(
        "reports",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("report", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("accepted", sa.BigInteger(), nullable=False),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("staged", sa.BigInteger(), nullable=False),
        sa.Column("refused", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("cluster", "report", "kind", name=op.f("pk_reports")),
    )
    op.create_index("ix_reports_at", "reports", ["cluster", "at"], unique=False)
    op.create_table(
        "usage_slots",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("rolled", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "account", "hour", name=op.f("pk_usage_slots")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usage_watermarks",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("watermark", sa.BigInteger(), nullable=False),
        sa.Column("closed_to", sa.BigInteger(), nullable=False),
        sa.Column("rolled_before", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", name=op.f("pk_usage_watermarks")),
    )
    op.create_table(
        "usage_staged",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("rows", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("cluster", "epoch", "account", "hour", name=op.f("pk_usage_staged")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "usage_rebuilds",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "epoch", name=op.f("pk_usage_rebuilds")),
    )
    op.create_table(
        "desired_entries",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("entry", TEXT, nullable=False),
        sa.ForeignKeyConstraint(["cluster"], ["desired_heads.cluster"], name=op.f("fk_desired_entries_desired_heads")),
        sa.PrimaryKeyConstraint("cluster", "account", name=op.f("pk_desired_entries")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_desired_entries_generation", "desired_entries", ["cluster", "generation"], unique=False)
    op.create_table(
        "usage_buckets",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("user", TEXT, nullable=False),
        sa.Column("resource", TEXT, nullable=False),
        sa.Column("allocated_0", sa.BigInteger(), nullable=False),
        sa.Column("allocated_1", sa.BigInteger(), nullable=False),
        sa.Column("allocated_2", sa.BigInteger(), nullable=False),
        sa.Column("allocated_3", sa.BigInteger(), nullable=False),
        sa.Column("refunded_0", sa.BigInteger(), nullable=False),
        sa.Column("refunded_1", sa.BigInteger(), nullable=False),
        sa.Column("refunded_2", sa.BigInteger(), nullable=False),
        sa.Column("refunded_3", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "account", "hour", "user", "resource", name=op.f("pk_usage_buckets")),
        sqlite_with_rowid=False,
        postgresql_partition_by=BY_MONTH,
    )
    op.create_table(
        "usage_hours",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("account", TEXT, nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("resource", TEXT, nullable=False),
        sa.Column("charged", sa.BigInteger(), nullable=False),
        sa.Column("charged_0", sa.BigInteger(), nullable=False),
        sa.Column("charged_1", sa.BigInteger(), nullable=False),
        sa.Column("charged_2", sa.BigInteger(), nullable=False),
        sa.Column("charged_3", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "account", "hour", "resource", name=op.f("pk_usage_hours")),
        sqlite_with_rowid=False,
        postgresql_partition_by=BY_MONTH,
    )


def downgrade() -> None:
    """Drop every table."""
    op.drop_index("ix_desired_entries_generation", table_name="desired_entries")
    op.drop_index("ix_reports_at", table_name="reports")
    op.drop_index("ix_enrolments_state", table_name="enrolments")
    op.drop_index("ix_enrolments_cluster", table_name="enrolments")
    op.drop_index("ix_changes_number", table_name="changes")
    op.drop_table("usage_hours")
    op.drop_table("usage_buckets")
    op.drop_table("usage_rebuilds")
    op.drop_table("usage_staged")
    op.drop_table("desired_entries")
    op.drop_table("usage_watermarks")
    op.drop_table("usage_slots")
    op.drop_table("reports")
    op.drop_table("enrolments")
    op.drop_table("desired_heads")
    op.drop_table("desired_grants")
    op.drop_table("changes")
    op.drop_table("agents")
    op.drop_table("agent_status")
    op.drop_table("acknowledgements")
    op.drop_table("account_states")
