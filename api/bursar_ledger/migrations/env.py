"""Run by Alembic for every command: the connection is handed in and so is its transaction."""

from alembic import context

from bursar_ledger.schema import CONNECTION
from bursar_ledger.tables import Base


def run() -> None:
    """Run the steps that Alembic chose; the caller's transaction commits them together."""
    context.configure(
        connection=context.config.attributes[CONNECTION],
        target_metadata=Base.metadata,
        render_as_batch=True,
        transactional_ddl=False,
    )
    context.run_migrations()


run()
