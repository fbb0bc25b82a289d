"""The gateway as the agent sees it: every call signed, answers parsed, failures told apart into *away* and *refused*."""

import gzip
import random
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from bursar_agent.tokens import CallSigner
from bursar_domain.enrolment import EnrolReply, EnrolRequest
from bursar_domain.wire import Delta, Hello, HelloReply, Receipt, StatusReport, UsageReport

CLOCK_HEADER: Final = "Bursar-Clock"
MAX_SKEW_SECONDS: Final = 60
TIMEOUT_SECONDS: Final = 15.0
MAX_RETRY_AFTER_SECONDS: Final = 300.0
_COMPRESS_FROM: Final = 1024
Answer = TypeVar("Answer", bound=BaseModel)


class GatewayAway(Exception):
    """No answer, or one that says to come again: go on with what was verified, and try later."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class GatewayRefused(Exception):
    """The gateway will not take this call; trying again as it is does not help."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass(slots=True)
class Backoff:
    """Growing pauses with jitter, so that a thousand agents do not come back in step."""

    first: float = 0.2
    longest: float = 30.0
    current: float = 0.0

    def reset(self) -> None:
        """It worked."""
        self.current = 0.0

    def next(self, at_least: float | None = None) -> float:
        """Seconds to wait before the next try."""
        self.current = min(self.longest, max(self.first, self.current * 2))
        return max(at_least or 0.0, self.current * random.uniform(0.5, 1.0))  # noqa: S311 - spreads calls, guards nothing


class Gateway:
    """One agent's connection. ``skew_seconds``: server's clock less ours, None before the first answer that carries it."""

    def __init__(
        self, address: str, authority: Path | None, *, signer: CallSigner | None = None, clock: Callable[[], float] = time.time
    ) -> None:
        context = ssl.create_default_context(cafile=str(authority) if authority else None)
        limits = httpx.Limits(max_connections=4)
        self._http = httpx.AsyncClient(base_url=address, verify=context, timeout=TIMEOUT_SECONDS, limits=limits)
        self._signer, self._clock = signer, clock
        self.skew_seconds: float | None = None
        self._etag = ""

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.aclose()

    @property
    def is_skewed(self) -> bool:
        """Whether the clocks differ too much to decide about periods."""
        return self.skew_seconds is not None and abs(self.skew_seconds) > MAX_SKEW_SECONDS

    async def enrol(self, request: EnrolRequest) -> EnrolReply:
        """Hand in a key; the operator decides."""
        return _parse(EnrolReply, await self._call("POST", "/agent/v1/enrol", request))

    async def enrolment(self, number: str) -> EnrolReply:
        """What became of it."""
        return _parse(EnrolReply, await self._call("GET", f"/agent/v1/enrol/{number}"))

    async def hello(self, cluster: str, hello: Hello) -> HelloReply:
        """Begin a session."""
        return _parse(HelloReply, await self._call("POST", f"/agent/v1/clusters/{cluster}/hello", hello))

    async def desired(self, cluster: str, after: int, wait_seconds: int) -> Delta | None:
        """What changed since a generation, as soon as something does; None where nothing did.

        A root that was only signed anew is told from the one before by its ETag.
        """
        target = f"/agent/v1/clusters/{cluster}/desired?after={after}&wait={wait_seconds}"
        headers = {"If-None-Match": self._etag} if self._etag and after else {}
        response = await self._call("GET", target, timeout=wait_seconds + TIMEOUT_SECONDS, headers=headers)
        if response.status_code in (httpx.codes.NOT_MODIFIED, httpx.codes.NO_CONTENT):
            return None
        delta = _parse(Delta, response)
        self._etag = response.headers.get("ETag", "")
        return delta

    def forget_version(self) -> None:
        """What came last was not used: it counts as news again."""
        self._etag = ""

    async def status(self, cluster: str, report: StatusReport) -> Receipt:
        """Report a cycle."""
        return await self._report(f"/agent/v1/clusters/{cluster}/status", report)

    async def usage(self, cluster: str, report: UsageReport) -> Receipt:
        """Report slots."""
        return await self._report(f"/agent/v1/clusters/{cluster}/usage", report)

    async def _report(self, target: str, report: BaseModel) -> Receipt:
        return _parse(Receipt, await self._call("PUT", target, report))

    def _note_clock(self, response: httpx.Response) -> None:
        text = response.headers.get(CLOCK_HEADER, "")
        if _is_number(text):
            self.skew_seconds = int(text) - self._clock()

    async def _call(
        self,
        method: str,
        target: str,
        model: BaseModel | None = None,
        *,
        timeout: float = TIMEOUT_SECONDS,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        body = b"" if model is None else model.model_dump_json(by_alias=True).encode()
        headers = {**(headers or {}), **({} if model is None else {"Content-Type": "application/json"})}
        if self._signer is not None:
            headers["Authorization"] = self._signer.authorization(method, target, body, int(self._clock()))
        content = body
        if len(body) >= _COMPRESS_FROM:
            content, headers["Content-Encoding"] = gzip.compress(body, compresslevel=3), "gzip"
        try:
            response = await self._http.request(method, target, content=content or None, headers=headers, timeout=timeout)
        except httpx.RequestError as error:  # also an answer that can't be unpacked
            raise GatewayAway(f"{method} {target}: the gateway does not answer ({error or type(error).__name__})") from error
        self._note_clock(response)
        return _checked(method, target, response)


def _checked(method: str, target: str, response: httpx.Response) -> httpx.Response:
    status = response.status_code
    if status < httpx.codes.BAD_REQUEST:
        return response
    message = f"{method} {target}: the gateway answers {status}: {response.text[:500]}"
    if status == httpx.codes.TOO_MANY_REQUESTS or status >= httpx.codes.INTERNAL_SERVER_ERROR:
        raise GatewayAway(message, _retry_after(response))
    raise GatewayRefused(message, status)


def _retry_after(response: httpx.Response) -> float | None:
    text = response.headers.get("Retry-After", "")
    return min(float(text), MAX_RETRY_AFTER_SECONDS) if _is_number(text) else None


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= 12


def _parse(model: type[Answer], response: httpx.Response) -> Answer:
    try:
        return model.model_validate_json(response.content)
    except ValidationError as error:
        raise GatewayRefused(f"the gateway's answer is no {model.__name__}: {error.errors()[0]['msg']}", 502) from error
