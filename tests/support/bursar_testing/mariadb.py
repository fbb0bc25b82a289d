"""Statements for the database behind slurmdbd: just enough of MySQL's protocol to edit a record as an administrator would."""

import asyncio
import struct
from pathlib import Path
from typing import Final

PROTOCOL_41, WITH_DATABASE, SECURE, PLUGIN = 0x200, 0x8, 0x8000, 0x80000
MOST_BYTES: Final = 2**24 - 1
UTF8: Final = 33
QUERY: Final = b"\x03"
OK, SWITCH, ERROR = 0x00, 0xFE, 0xFF


class StatementFailed(Exception):
    """The server's own words."""


async def execute(socket: Path, database: str, *statements: str) -> None:
    """Run statements that give no rows, as root, whom the server knows by the socket's peer."""
    reader, writer = await asyncio.open_unix_connection(socket)
    try:
        await _packet(reader)
        flags = PROTOCOL_41 | WITH_DATABASE | SECURE | PLUGIN
        head = struct.pack("<IIB23x", flags, MOST_BYTES, UTF8)
        _send(writer, 1, head + b"root\0" + b"\0" + database.encode() + b"\0" + b"unix_socket\0")
        answer = await _packet(reader)
        if answer[0] == SWITCH:
            _send(writer, 3, b"")
            answer = await _packet(reader)
        _check(answer, "log in")
        for statement in statements:
            _send(writer, 0, QUERY + statement.encode())
            _check(await _packet(reader), statement)
    finally:
        writer.close()
        await writer.wait_closed()


def _send(writer: asyncio.StreamWriter, number: int, body: bytes) -> None:
    writer.write(struct.pack("<I", len(body))[:3] + bytes([number]) + body)


async def _packet(reader: asyncio.StreamReader) -> bytes:
    header = await reader.readexactly(4)
    return await reader.readexactly(int.from_bytes(header[:3], "little"))


def _check(answer: bytes, what: str) -> None:
    if answer[0] != OK:
        raise StatementFailed(f"{what}: {answer[3:].decode(errors='replace')}")
