"""A throw-away PostgreSQL on loopback: own folder, own port, own password, nothing of the host started, stopped or altered."""

from bursar_local.postgres.errors import PostgresUnavailable
from bursar_local.postgres.server import Postgres, can_run

__all__ = ["Postgres", "PostgresUnavailable", "can_run"]
