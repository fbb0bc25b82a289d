"""Rows as CSV, a piece at a time; no cell is a formula to a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from starlette.responses import StreamingResponse

MEDIA_TYPE: Final = "text/csv; charset=utf-8"
PIECE_ROWS: Final = 500
# The wide forms too: spreadsheets of some languages take them for the same.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def sheet(columns: Sequence[str], rows: Iterable[Mapping[str, object]], name: str) -> StreamingResponse:
    """CSV with a line of titles, offered as a file of this name; a column that a row lacks stays empty."""
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return StreamingResponse(pieces(columns, rows), media_type=MEDIA_TYPE, headers=headers)


def pieces(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """The text, some hundred rows at a time."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for number, row in enumerate(rows, 1):
        writer.writerow([cell(row.get(column)) for column in columns])
        if number % PIECE_ROWS == 0:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()


def cell(value: object) -> object:
    """As it stands, a text that a spreadsheet would work out with a quote before it, nothing for None."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
