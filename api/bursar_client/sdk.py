"""The typed client of the gateway: async, pages followed, retries on 429 and 503 only."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

from bursar_client.connection import TIMEOUT_SECONDS, Connection, tls

Obj = dict[str, Any]
RETRIES = 3
RETRIED = frozenset({429, 503})


class ApiError(Exception):
    """A refusal of the gateway: status, title, detail, and one entry per violated rule."""

    def __init__(self, status: int, title: str, detail: str, violations: list[Obj]) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.violations = status, title, detail, violations

    @classmethod
    def of(cls, response: httpx.Response) -> "ApiError":
        """From a problem document, or whatever else came."""
        try:
            body = response.json()
        except ValueError:
            body = {}
        detail = body.get("detail") or f"the gateway answered {response.status_code} to {response.request.url.path}"
        return cls(response.status_code, body.get("title", "Refused"), detail, body.get("violations", []))


class BursarClient:
    """`async with BursarClient(connection) as bursar: ...`"""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._http = httpx.AsyncClient(base_url=connection.gateway, verify=tls(connection.ca), timeout=TIMEOUT_SECONDS)
        self._token: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """One call; the parsed JSON (None for an empty answer). `ApiError` for every refusal."""
        shown = {key: value for key, value in (params or {}).items() if value is not None}
        for attempt in range(RETRIES + 1):
            sent = {**(headers or {}), **await self._headers()}
            response = await self._http.request(method, path, params=shown or None, json=body, headers=sent)
            if response.status_code == 401 and attempt == 0 and self._connection.token is None:
                self._token = None  # a development token has run out
                continue
            if response.status_code not in RETRIED or attempt == RETRIES:
                break
            await asyncio.sleep(min(10.0, float(response.headers.get("Retry-After", 2**attempt / 4))))
        if response.is_error:
            raise ApiError.of(response)
        return response.json() if response.content else None

    async def _headers(self) -> dict[str, str]:
        if self._token is None:
            self._token = await self._connection.bearer()
        return {"Authorization": f"Bearer {self._token}"}

    async def pages(self, path: str, **params: Any) -> AsyncIterator[Obj]:
        """Every item of a listing, page after page."""
        cursor: str | None = None
        while True:
            answer = await self.request("GET", path, params={**params, "continue": cursor, "limit": 500})
            for item in answer["items"]:
                yield item
            cursor = answer.get("continue")
            if cursor is None:
                return

    async def listing(self, plural: str, **filters: Any) -> list[Obj]:
        """`clusters`, `projects`, `pools` or `allocations`."""
        return [item async for item in self.pages(f"/api/v1/{plural}", **filters)]

    async def balances(self, **filters: Any) -> list[Obj]:
        """Granted, used and left per allocation, in the window that runs."""
        return [item async for item in self.pages("/api/v1/balances", **filters)]

    async def my_balance(self) -> list[Obj]:
        """The same for the projects that the caller is a member of."""
        return [item async for item in self.pages("/api/v1/me/balance")]

    async def usage(self, **filters: Any) -> Obj:
        """Booked use: `items`, and `asOf` per cluster. ``by``, ``month``, ``start``, ``end`` and the filters as in the API."""
        return dict(await self.request("GET", "/api/v1/usage", params=filters))

    async def statement(self, project: str, **filters: Any) -> Obj:
        """A project's books: `items` per cluster. ``by``, ``month``, ``start``, ``end`` and ``cluster`` as in the API."""
        return dict(await self.request("GET", "/api/v1/statements", params={"project": project, **filters}))

    async def entries(self, **filters: Any) -> list[Obj]:
        """Entries of the books: ``project``, ``cluster``, ``allocation``, ``kind``."""
        return [item async for item in self.pages("/api/v1/entries", **filters)]

    async def make_entry(self, entry: Obj, *, key: str | None = None, dry_run: bool = False) -> list[Obj]:
        """Book by hand; the entries made. The same ``key`` is booked once; retries of this call use one of their own."""
        headers = {"Idempotency-Key": key or uuid4().hex}
        answer = await self.request("POST", "/api/v1/entries", params={"dryRun": dry_run}, body=entry, headers=headers)
        return list(answer["items"])

    async def open_gate(self, project: str, name: str, gate: str, *, dry_run: bool = False) -> Obj:
        """Open a gate of an allocation's tranches."""
        path = "/".join(quote(part, safe="") for part in (project, name, "gates", gate))
        return dict(await self.request("POST", f"/api/v1/allocations/{path}", params={"dryRun": dry_run}))

    async def verify_entries(self) -> Obj:
        """Check the chain of entries: `rows`, `hash`, `problems`."""
        return dict(await self.request("GET", "/api/v1/audit/entries/verify"))

    async def apply(self, manifest: Obj, *, dry_run: bool = False) -> Obj:
        """Server-side apply of one manifest."""
        return dict(await self.request("POST", "/api/v1/apply", params={"dryRun": dry_run}, body=manifest))

    async def me(self) -> Obj:
        """Who the gateway thinks is asking."""
        return dict(await self.request("GET", "/api/v1/me"))
