"""What agents stated by hand of allocations that are being deleted, kept with the signature."""

import sqlalchemy as sa
from alembic import op

TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

revision = "0005"
down_revision: str | None = "0004"
branch_labels: str | None = None
depends_on: str | None = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "release_statements",
        sa.Column("uid", TEXT, nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("cluster", TEXT, nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.Column("document", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("uid", "revision", name=op.f("pk_release_statements")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("release_statements")
