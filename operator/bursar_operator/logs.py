"""Logging: one line an event on standard error, Kopf's chatter left out."""

import logging
import sys

import structlog


class NotWaiting(logging.Filter):
    """Drops Kopf's error lines about handlers that only wait: the object's conditions say what for."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is kept."""
        return "failed temporarily" not in record.getMessage()


def log_to_stderr(level: str) -> None:
    """Configure the process's logging, once."""
    number = logging.getLevelNamesMapping()[level]
    logging.basicConfig(stream=sys.stderr, level=number, format="%(asctime)s %(levelname)-7s %(name)s %(message)s")
    # Kopf tells of every event of every object, SQLite of every statement.
    for noisy in ("aiosqlite", "alembic", "asyncio", "kopf.objects", "kopf.activities", "kopf._core"):
        logging.getLogger(noisy).setLevel(number if level == "DEBUG" else max(number, logging.WARNING))
    logging.getLogger("kopf.objects").addFilter(NotWaiting())
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
