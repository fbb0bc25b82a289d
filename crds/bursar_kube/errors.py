"""What the API server refuses, and what the network loses, as exceptions that know their status and when to try again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson


@dataclass(frozen=True, slots=True)
class StatusCause:
    """One entry of `status.details.causes[]`: what is wrong (`reason`), in words (`message`), and where (`field`)."""

    reason: str
    message: str
    field: str = ""


class KubeError(Exception):
    """A call to the API server that failed.

    `status` is the HTTP status (0 where no answer came), `reason` Kubernetes' word for it, `message` its sentence. Bodies of
    objects never get in here: only what a Kubernetes `Status` says.
    """

    unknown_result: bool = False
    """Whether the write may have happened all the same: repeat it or read again before anything else."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        call: str = "",
        details: Mapping[str, object] | None = None,
        causes: tuple[StatusCause, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.call = call
        self.details = dict(details or {})
        self.causes = causes
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.call}: {self.message}" if self.call else self.message


class NotConfigured(KubeError):
    """No kubeconfig and no service account to reach an API server with."""


class Unauthorized(KubeError):
    """401: the API server does not know who asks."""


class Forbidden(KubeError):
    """403: not allowed, or refused by an admission policy or webhook."""


class NotFound(KubeError):
    """404: no such object, or no such kind."""


class Conflict(KubeError):
    """409: the object changed since it was read, or a precondition does not hold."""


class AlreadyExists(KubeError):
    """409 on create: the name is taken."""


class Gone(KubeError):
    """410: the resource version is too old to go on from."""


class Invalid(KubeError):
    """422 or 400: the schema or a rule refuses the object."""


class TooManyRequests(KubeError):
    """429: come back after `retry_after` seconds."""


class ServerTimeout(KubeError):
    """No answer in time, from here or behind the API server; whether the write happened is unknown."""

    unknown_result = True


class Unavailable(KubeError):
    """The connection failed or the API server is in trouble; whether the write happened is unknown."""

    unknown_result = True


class NotLeading(KubeError):
    """Nothing was sent: this process does not lead, or can't be sure that it still does."""


_BY_STATUS: Final[Mapping[int, type[KubeError]]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: Invalid,
    422: Invalid,
    429: TooManyRequests,
    504: ServerTimeout,
}
_BY_REASON: Final[Mapping[str, type[KubeError]]] = {
    "AlreadyExists": AlreadyExists,
    "Expired": Gone,
    "Gone": Gone,
    "Timeout": ServerTimeout,
    "ServerTimeout": ServerTimeout,
}


def from_status(status: int, document: Mapping[str, object], *, call: str = "", retry_after: float | None = None) -> KubeError:
    """The error that a Kubernetes `Status` document stands for."""
    reason = _text(document.get("reason"))
    details = document.get("details")
    details = details if isinstance(details, dict) else {}
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status) or (Unavailable if status >= 500 else KubeError)
    seconds = details.get("retryAfterSeconds")
    return kind(
        _text(document.get("message")) or f"the API server answered {status}",
        status=status,
        reason=reason,
        call=call,
        details={key: value for key, value in details.items() if key != "causes"},
        causes=_causes(details.get("causes")),
        retry_after=float(seconds) if isinstance(seconds, int) and seconds else retry_after,
    )


def from_response(status: int, body: bytes, headers: Mapping[str, str], call: str) -> KubeError:
    """The error that an HTTP answer stands for; a body that is no `Status` is left out of it."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    document = parsed if isinstance(parsed, dict) and parsed.get("kind") == "Status" else {}
    after = headers.get("Retry-After", "")
    return from_status(status, document, call=call, retry_after=float(after) if after.isdecimal() else None)


def _causes(found: object) -> tuple[StatusCause, ...]:
    if not isinstance(found, list):
        return ()
    return tuple(
        StatusCause(_text(item.get("reason")), _text(item.get("message")), _text(item.get("field")))
        for item in found
        if isinstance(item, dict)
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
