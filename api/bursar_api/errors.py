"""Errors of the gateway and how they reach the client: RFC 9457 problem details.

Problem                    status, title, detail, violations[], remedy
├── Unauthenticated  401   no token, or one that does not hold
├── Forbidden        403   the caller may see it, but not do this
├── NotFound         404   also what the caller may not see
├── Clash            409   it does not fit what is there
├── Invalid          422   a value that can't be meant
├── NotGranted       409   the object stays and waits
└── Unavailable      503   the API server or the issuer is away; Retry-After
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bursar_kube.errors import KubeError
from bursar_ledger import LedgerError

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """A refusal: what happened, to what, and what to do."""

    status: ClassVar[int] = 400
    title: ClassVar[str] = "Bad request"

    def __init__(self, detail: str, *, violations: Sequence[dict[str, Any]] = (), retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.violations = violations
        self.retry_after = retry_after


class Unauthenticated(Problem):
    """The request carries no token that holds."""

    status = 401
    title = "Not authenticated"


class NotFound(Problem):
    """There is no such object, or the caller may not see it."""

    status = 404
    title = "Not found"


class Forbidden(Problem):
    """The caller may see it, but not do this."""

    status = 403
    title = "Forbidden"


class Clash(Problem):
    """What is asked for does not fit what is there."""

    status = 409
    title = "Conflict"


class Invalid(Problem):
    """A value that can't be meant."""

    status = 422
    title = "Invalid"


class NotGranted(Problem):
    """The allocation stays and waits."""

    status = 409
    title = "Not granted"


class Unavailable(Problem):
    """Something the gateway needs is away."""

    status = 503
    title = "Unavailable"


def answer(
    status: int, title: str, detail: str, *, violations: Sequence[dict[str, Any]] = (), retry_after: int | None = None
) -> Response:
    """A problem document."""
    body = {"type": "about:blank", "status": status, "title": title, "detail": detail, "violations": list(violations)}
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(orjson.dumps(body), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def from_kube(error: KubeError) -> Response:
    """The API server's refusal, word for word, causes as violations; what has no HTTP status becomes 503."""
    status = error.status if 400 <= error.status < 600 else 503
    violations = [{"field": cause.field, "reason": cause.reason, "message": cause.message} for cause in error.causes]
    retry = error.retry_after if error.retry_after is not None else (1 if status in {429, 503} else None)
    return answer(
        status,
        error.reason or "Refused",
        error.message,
        violations=violations,
        retry_after=None if retry is None else int(retry),
    )


def install(app: FastAPI) -> None:
    """Register the handlers: every refusal of the gateway is a problem document."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - registered for this class only
        return answer(error.status, error.title, error.detail, violations=error.violations, retry_after=error.retry_after)

    async def kube(_: Request, error: Exception) -> Response:
        assert isinstance(error, KubeError)  # noqa: S101 - registered for this class only
        return from_kube(error)

    async def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
        return answer(error.status_code, "Refused", str(error.detail))

    async def ledger(_: Request, error: Exception) -> Response:
        return answer(503, "Unavailable", str(error), retry_after=2)

    async def invalid(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
        found = [{"field": ".".join(map(str, e["loc"])), "reason": e["type"], "message": e["msg"]} for e in error.errors()]
        return answer(422, "Invalid", "; ".join(f"{v['field']}: {v['message']}" for v in found), violations=found)

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(KubeError, kube)
    app.add_exception_handler(LedgerError, ledger)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
