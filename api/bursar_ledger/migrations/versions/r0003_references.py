"""Entries are found by what they refer to: the job of a refund, the other side of a transfer."""

from alembic import op

revision = "0003"
down_revision: str | None = "0002"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create the index."""
    op.create_index("ix_entries_reference", "entries", ["cluster", "reference"])


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_entries_reference", table_name="entries")
