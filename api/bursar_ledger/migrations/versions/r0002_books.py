"""The books beside use: entries in a chain, thresholds that fired, rules in force."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"
branch_labels: str | None = None
depends_on: str | None = None

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, TEXT, nullable=False) for name in names]


def _number(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "entries",
        sa.Column("number", sa.BigInteger(), nullable=False, autoincrement=False),
        *_text("key", "kind", "cluster", "account"),
        *_number("at"),
        *_text("author", "reason", "uid", "namespace", "name", "amounts"),
        sa.Column("window", sa.BigInteger(), nullable=True),
        *_text("reference", "rows", "request"),
        *_number("recorded_at"),
        *_text("previous", "hash"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_entries")),
        sa.UniqueConstraint("key", name=op.f("uq_entries_key")),
    )
    op.create_index("ix_entries_account", "entries", ["cluster", "account", "number"])
    op.create_index("ix_entries_uid", "entries", ["uid", "number"])
    op.create_table(
        "chain_heads",
        *_text("name"),
        *_number("number"),
        *_text("hash"),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_chain_heads")),
    )
    op.create_table(
        "firings",
        *_text("uid"),
        *_number("window"),
        *_text("rule", "direction"),
        *_number("at", "figure"),
        sa.PrimaryKeyConstraint("uid", "window", "rule", "direction", name=op.f("pk_firings")),
    )
    op.create_table(
        "rules_in_force",
        *_text("uid"),
        *_number("window"),
        *_text("keys"),
        *_number("since"),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_rules_in_force")),
    )


def downgrade() -> None:
    """Drop every table."""
    for name in ("rules_in_force", "firings", "chain_heads", "entries"):
        op.drop_table(name)
