"""What can go wrong with the throw-away PostgreSQL."""


class PostgresUnavailable(Exception):
    """PostgreSQL can't be had, started or used here; the text names the program, its last lines and the remedy."""
