"""The agents' endpoints, `/agent/v1`: they translate, the ledger decides what is stored."""

import asyncio
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from bursar_api.agents import bodies, enrol
from bursar_api.agents.authentication import Authenticator, Caller, Keys, own
from bursar_api.agents.exchange import Clock, answer, packed, route_class
from bursar_api.agents.problems import Refused
from bursar_api.agents.rate import Bucket
from bursar_api.agents.waiting import Generations, Heartbeats
from bursar_domain.enrolment import EnrolReply, EnrolRequest
from bursar_domain.wire import Delta, Hello, HelloReply, Receipt, StatusReport, UsageReport
from bursar_ledger import Document, Ledger, Version

PREFIX: Final = "/agent/v1"
MAX_WAIT_SECONDS: Final = 55
_ETAG: Final = re.compile(r'(?:W/)?"(\d{1,18})\.(\d{1,18})"')
After = Annotated[int, Query(ge=0, le=2**53, description="The generation that the agent has; 0 for everything.")]
Wait = Annotated[int, Query(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for something newer.")]
Cluster = Annotated[str, Path(description="The Cluster's name.")]
Refusals = Callable[[str], None]


class Endpoints:
    """The handlers and what they share within one process."""

    def __init__(self, ledger: Ledger, keys: Keys, clock: Clock, refused: Refusals) -> None:
        self._ledger = ledger
        self._clock = clock
        self._refused = refused
        self._authenticator = Authenticator(keys)
        self._enrolments = Bucket(enrol.BURST, enrol.SECONDS_EACH)
        self._generations = Generations(ledger)
        self._heartbeats = Heartbeats(ledger)
        self._given: dict[str, tuple[str, Version]] = {}

    async def enrol(self, request: Request) -> Response:
        """Ask to be let in: the operator checks the MAC and answers; poll `GET /enrol/{id}`."""
        asked = bodies.parse(EnrolRequest, await bodies.read(request, enrol.MAX_BODY_BYTES))
        enrol.check(asked)
        host = request.client.host if request.client else ""
        wait = self._enrolments.wait(f"{asked.cluster} {host}", self._clock())
        if wait:
            detail = f"too many enrolments of cluster {asked.cluster}; wait {wait:.0f} s"
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after=int(wait) + 1)
        return await self._enrolment(await self._ledger.request_enrolment(asked, self._now()), HTTPStatus.ACCEPTED)

    async def enrolment(self, id: Annotated[str, Path(max_length=64)]) -> Response:  # noqa: A002 - the path's name
        """What became of an enrolment."""
        return await self._enrolment(id, HTTPStatus.OK)

    async def hello(self, request: Request, cluster: Cluster) -> Response:
        """Begin a session; `accepted: false` while another session of the same key is at work."""
        caller, body = await self._signed(request, cluster)
        said = bodies.parse(Hello, body)
        own(caller, said.session)
        reply = await self._ledger.record_hello(cluster, said, self._now())
        self._given.pop(cluster, None)
        return answer(reply)

    async def desired(self, request: Request, cluster: Cluster, after: After = 0, wait: Wait = 0) -> Response:
        """Entries changed after a generation and the signed root over all of them; 304 when nothing came in `wait` seconds.

        A root that was signed anew (validity, a released brake) is news too: it comes without entries.
        """
        caller, _ = await self._signed(request, cluster)
        await self._hold(caller)
        known = _known(request) or self._given_to(caller)
        document = await self._ledger.desired_document(cluster, after, now=self._now())
        if wait and not _is_news(document, after, known):
            if not await self._wait(request, caller, document.version if document else None, wait):
                return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_headers(document))
            await self._hold(caller)
            document = await self._ledger.desired_document(cluster, after, now=self._now())
        if document is None or not _is_news(document, after, known):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=_headers(document))
        self._given[cluster] = (caller.session, document.version)
        return packed(request, document.body, _headers(document))

    async def status(self, request: Request, cluster: Cluster) -> Response:
        """Result of a cycle; the same report again changes nothing."""
        caller, body = await self._signed(request, cluster)
        report = bodies.parse(StatusReport, body)
        own(caller, report.session)
        await self._hold(caller)
        return answer(await self._ledger.record_status(cluster, report, self._now()))

    async def usage(self, request: Request, cluster: Cluster) -> Response:
        """Whole usage slots; one that can't be true is refused by itself. The same report again changes nothing."""
        caller, body = await self._signed(request, cluster)
        report = bodies.parse(UsageReport, body)
        own(caller, report.session)
        await self._hold(caller)
        receipt = await self._ledger.put_usage(cluster, report, self._now())
        for item in receipt.refused:
            self._refused(item.reason)
        return answer(receipt)

    def drain(self) -> None:
        """Answer every long poll now and let none wait again."""
        self._generations.drain()

    def _now(self) -> int:
        return int(self._clock())

    async def _signed(self, request: Request, cluster: str) -> tuple[Caller, bodies.Body]:
        """The caller and its body: signature first, then no more bytes than allowed, then the hash."""
        claims = self._authenticator.claims(request, cluster, self._clock())
        body = await bodies.read(request)
        return self._authenticator.admit(claims, body, self._clock()), body

    async def _hold(self, caller: Caller) -> None:
        """409 unless this session holds the cluster; a sign of life if it does."""
        holder = await self._ledger.session(caller.cluster)
        if holder is None:
            raise Refused(HTTPStatus.CONFLICT, "this session is not known; say hello first", title="HelloFirst")
        if holder != caller.session:
            detail = f"session {holder} with the same key is at work; stop one of the two agents, or say hello again"
            raise Refused(HTTPStatus.CONFLICT, detail, title="Fenced")
        self._heartbeats.seen(caller.cluster, caller.session, self._now())

    async def _wait(self, request: Request, caller: Caller, known: Version | None, seconds: int) -> bool:
        """Whether something newer came. A broken connection ends it: the session is given up unless it calls again."""
        newer = asyncio.ensure_future(self._generations.newer(caller.cluster, known))
        gone = asyncio.ensure_future(_disconnected(request))
        self._heartbeats.waits(caller.cluster, caller.session, 1)
        try:
            done, _ = await asyncio.wait({newer, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._heartbeats.waits(caller.cluster, caller.session, -1)
            newer.cancel()
            gone.cancel()
        if newer in done:
            return True
        if gone in done:
            self._heartbeats.forget(caller.cluster, caller.session)
            await self._ledger.release(caller.cluster, caller.session, self._now())
        return False

    def _given_to(self, caller: Caller) -> Version | None:
        session, version = self._given.get(caller.cluster, ("", None))
        return version if session == caller.session else None

    async def _enrolment(self, identity: str, status: int) -> Response:
        found = await self._ledger.enrolment(identity) if enrol.IDENTIFIER.fullmatch(identity) else None
        if found is None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such enrolment; ask again with `bursar-agent enrol`")
        return answer(enrol.reply(found, self._now()), status)


def _known(request: Request) -> Version | None:
    """The version that the caller says it has."""
    match = _ETAG.fullmatch(request.headers.get("if-none-match", ""))
    return None if match is None else Version(int(match[1]), int(match[2]))


def _is_news(document: Document | None, after: int, known: Version | None) -> bool:
    """Whether the caller lacks something: another generation than it has, or a root signed since the one it knows."""
    return document is not None and (document.version.generation != after or document.version != known)


def _headers(document: Document | None) -> dict[str, str]:
    return {} if document is None else {"ETag": f'"{document.version.generation}.{document.version.signing}"'}


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class AgentRouter(APIRouter):
    """The routes, and a way to end the long polls before the server waits for its connections."""

    def __init__(self, endpoints: Endpoints, clock: Clock) -> None:
        super().__init__(prefix=PREFIX, route_class=route_class(clock), tags=["agents"])
        self._endpoints = endpoints

    def drain(self) -> None:
        """Answer every long poll now and let none wait again."""
        self._endpoints.drain()


def router(ledger: Ledger, keys: Keys, *, clock: Clock = time.time, refused: Refusals = lambda reason: None) -> AgentRouter:
    """The router over a ledger; ``keys`` gives the public keys (base64url) that a cluster's agent may sign with now.

    ``refused`` is told the reason of each usage slot that was left out.
    """
    at = Endpoints(ledger, keys, clock, refused)
    routes = AgentRouter(at, clock)
    add = routes.add_api_route
    add("/enrol", at.enrol, methods=["POST"], status_code=202, responses={202: {"model": EnrolReply}})
    add("/enrol/{id}", at.enrolment, methods=["GET"], responses={200: {"model": EnrolReply}})
    add("/clusters/{cluster}/hello", at.hello, methods=["POST"], responses={200: {"model": HelloReply}})
    add("/clusters/{cluster}/desired", at.desired, methods=["GET"], responses={200: {"model": Delta}})
    add("/clusters/{cluster}/status", at.status, methods=["PUT"], responses={200: {"model": Receipt}})
    add("/clusters/{cluster}/usage", at.usage, methods=["PUT"], responses={200: {"model": Receipt}})
    return routes
