"""Request bodies: read and unpacked under one cap, so that neither a long nor a well-packed body fills the memory."""

import zlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from bursar_api.agents.problems import Refused, too_large

MAX_BODY_BYTES: Final = 1024 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Body:
    """A body as it was sent and as it is meant."""

    sent: bytes
    content: bytes


async def read(request: Request, limit: int = MAX_BODY_BYTES) -> Body:
    """The whole body; 413 over ``limit`` before or after unpacking, 415 for a coding other than gzip."""
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "gzip"):
        raise Refused(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"content coding {coding[:32]!r} is not understood; send gzip or none")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise too_large(limit)
    sent = bytearray()
    async for piece in request.stream():
        sent += piece
        if len(sent) > limit:
            raise too_large(limit)
    return Body(bytes(sent), unpack(bytes(sent), limit) if coding == "gzip" else bytes(sent))


def unpack(data: bytes, limit: int) -> bytes:
    """One gzip member; stops at ``limit`` bytes, whatever would still come."""
    unpacker = zlib.decompressobj(_GZIP)
    try:
        content = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "the body says it is gzip and is not; pack it again") from error
    if len(content) > limit:
        raise too_large(limit)
    if not unpacker.eof or unpacker.unused_data:
        raise Refused(HTTPStatus.BAD_REQUEST, "the body is not one whole gzip member; pack it again")
    return content


def parse(model: type[M], body: Body) -> M:
    """The body as a model; 422 with every field that is wrong."""
    try:
        return model.model_validate_json(body.content)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        violations = [
            {"field": ".".join(str(part) for part in item["loc"]), "reason": item["type"], "message": item["msg"]}
            for item in found[:32]
        ]
        detail = f"this is not a {model.__name__}: {violations[0]['field']}: {violations[0]['message']}"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, detail, title="Invalid", violations=violations) from error
