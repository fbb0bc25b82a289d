"""Whether anything was written to the database since the last look, where that can be told for next to nothing."""

import sqlite3
from pathlib import Path
from urllib.parse import quote


class Pulse:
    """SQLite counts what others commit: a look takes microseconds, where a query takes a thread and milliseconds."""

    def __init__(self, path: str) -> None:
        self._uri = f"file:{quote(str(Path(path).absolute()))}?mode=ro"
        self._connection: sqlite3.Connection | None = None
        self._version: int | None = None

    def moved(self) -> bool:
        """True where anything was written since the last call, or where it can't be told."""
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(self._uri, uri=True, timeout=0)
            (version,) = self._connection.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return True
        before, self._version = self._version, version
        return bool(version != before)

    def close(self) -> None:
        """Close the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
