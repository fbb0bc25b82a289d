"""The greatest version of a slot that was ever told, so that an agent that was put back to an earlier day notices it."""

import sqlalchemy as sa
from alembic import op

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

revision = "0004"
down_revision: str | None = "0003"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create the table; what it holds comes with the next report of each cluster."""
    op.create_table(
        "usage_newest",
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", name=op.f("pk_usage_newest")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("usage_newest")
