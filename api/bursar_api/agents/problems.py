"""Refusals of the agents' endpoints: RFC 9457 problem documents that carry the server's clock."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
CLOCK_HEADER = "Bursar-Clock"


class Refused(Exception):
    """An answer that is no success: HTTP status, what happened to what, and what to do."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str = "",
        violations: Sequence[Mapping[str, str]] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title or HTTPStatus(status).phrase
        self.detail = detail
        self.violations = violations
        self.retry_after = retry_after

    def response(self, clock: int) -> Response:
        """The problem document."""
        body = {
            "type": "about:blank",
            "status": self.status,
            "title": self.title,
            "detail": self.detail,
            "violations": [dict(violation) for violation in self.violations],
            "clock": clock,
        }
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return Response(orjson.dumps(body), status_code=self.status, media_type=MEDIA_TYPE, headers=headers)


def unauthenticated(detail: str) -> Refused:
    """401: the call is not signed by a key of the cluster, or the signature is over something else."""
    return Refused(HTTPStatus.UNAUTHORIZED, detail, title="Not authenticated")


def too_large(limit: int) -> Refused:
    """413, with what to do."""
    return Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body may have {limit} bytes, unpacked; send it in pages")
