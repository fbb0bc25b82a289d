"""What happens to each call between the wire and the ledger: signed or refused, parsed or refused, always with the clock."""

import gzip
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from bursar_api.agents.problems import CLOCK_HEADER, Refused
from bursar_ledger import BadReport, Fenced, LedgerError, TooManyPending, Unavailable

PACK_FROM_BYTES: Final = 4096
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Clock = Callable[[], float]


def route_class(clock: Clock) -> type[APIRoute]:
    """A route that turns refusals into problem documents and puts the clock on every answer."""

    class AgentRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            inner = super().get_route_handler()

            async def handle(request: Request) -> Response:
                try:
                    response = await inner(request)
                except Refused as refused:
                    response = refused.response(int(clock()))
                except LedgerError as error:
                    response = from_ledger(error).response(int(clock()))
                response.headers[CLOCK_HEADER] = str(int(clock()))
                response.headers["Cache-Control"] = "no-store"
                return response

            return handle

    return AgentRoute


def from_ledger(error: LedgerError) -> Refused:
    """The ledger's refusal as an HTTP answer."""
    if isinstance(error, Fenced):
        return Refused(HTTPStatus.CONFLICT, str(error), title="Fenced")
    if isinstance(error, BadReport):
        return Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), title="Invalid")
    if isinstance(error, TooManyPending):
        return Refused(HTTPStatus.TOO_MANY_REQUESTS, str(error), retry_after=30)
    if isinstance(error, Unavailable):
        return Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), retry_after=2)
    return Refused(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))


def answer(model: BaseModel, status: int = 200) -> Response:
    """A wire model as JSON."""
    return Response(model.model_dump_json(by_alias=True), status_code=status, media_type="application/json")


def packed(request: Request, body: bytes, headers: dict[str, str]) -> Response:
    """JSON, gzipped where it is long and the caller takes it."""
    headers = headers | {"Vary": "Accept-Encoding"}
    if len(body) >= PACK_FROM_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type="application/json", headers=headers)
