"""The client of the API server: typed paths, one time-out per call, errors that say what to do."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

import orjson

from bursar_kube.connection import Connection, Credentials, find_connection
from bursar_kube.errors import Gone, KubeError, from_status
from bursar_kube.guard import Gate
from bursar_kube.resources import ResourceType
from bursar_kube.transport import Transport

Obj = dict[str, Any]
Objs = list[Obj]
Event = tuple[str, Obj]
"""ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""
Events = list[Event]

CALL_SECONDS: Final = 15.0
AGENT: Final = "bursar"
PAGE: Final = 500
WATCH_SECONDS: Final = 300
SILENCE_SECONDS: Final = 75.0  # bookmarks come once a minute
JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
APPLY_PATCH: Final = "application/apply-patch+yaml"


class PagesGone(Exception):
    """The pages that are left of a list are there no more: read it again from the beginning."""


class Kube:
    """One API server as one identity. `Kube.connect()` makes it, `close()` ends it; `as_token` gives another identity."""

    def __init__(
        self,
        connection: Connection,
        transport: Transport,
        bare: Transport,
        credentials: Credentials,
        *,
        agent: str = AGENT,
        owner: bool = True,
    ) -> None:
        self._connection = connection
        self._transport = transport
        self._bare = bare
        self._credentials = credentials
        self._agent = agent
        self._owner = owner

    @classmethod
    async def connect(cls, kubeconfig: str | None = None, *, context: str | None = None, agent: str = AGENT) -> "Kube":
        """Read the kubeconfig that is named, or the pod's service account, or the usual kubeconfig.

        `agent` is the User-Agent, by which the API server's audit log tells processes apart.
        """
        return cls._over(await find_connection(kubeconfig, context), agent, None)

    @classmethod
    def _over(cls, found: Connection, agent: str, gate: Gate | None) -> "Kube":
        transport = Transport(found.server, found.tls, found.server_name, found.proxy, gate)
        bare = Transport(found.server, found.bare_tls, found.server_name, found.proxy, gate)
        return cls(found, transport, bare, found.credentials, agent=agent)

    def guarded(self, gate: Gate) -> "Kube":
        """The same server and identity over connections of its own, on which every write passes the gate."""
        return self._over(self._connection, self._agent, gate)

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._connection.server

    def as_token(self, token: str) -> "Kube":
        """The same server as somebody else. Never over a connection that shows our certificate: that would win."""

        async def header() -> str:
            return f"Bearer {token}"

        return Kube(self._connection, self._bare, self._bare, header, agent=self._agent, owner=False)

    async def close(self) -> None:
        """Close the connections; does nothing for what `as_token` gave."""
        if self._owner:
            await self._transport.close()
            await self._bare.close()

    async def raw(
        self,
        method: str,
        path: str,
        body: Obj | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = JSON,
        accept: str = JSON,
        timeout: float = CALL_SECONDS,
    ) -> Obj:
        """Any call; the answer's JSON document."""
        headers = await self._headers() | {"Accept": accept}
        data = None
        if body is not None:
            headers["Content-Type"] = content_type
            data = orjson.dumps(body)
        answer = await self._transport.send(method, path, query or {}, data, headers, timeout)
        document: Obj = orjson.loads(answer)
        return document

    async def get(self, rt: ResourceType, name: str, namespace: str | None = None) -> Obj:
        """One object as it is now (a quorum read)."""
        return await self.raw("GET", rt.path(name, namespace))

    async def list(self, rt: ResourceType, namespace: str | None = None, *, label_selector: str | None = None) -> Objs:
        """Every object, read in pages; as of the moment of the first page."""
        items, _ = await self.list_versioned(rt, namespace, label_selector=label_selector)
        return items

    async def list_versioned(
        self,
        rt: ResourceType,
        namespace: str | None = None,
        *,
        label_selector: str | None = None,
        field_selector: str | None = None,
    ) -> tuple[Objs, str]:
        """As `list`, with the resource version that a watch can go on from."""
        while True:
            items: Objs = []
            version = ""
            try:
                async for page, version in self._pages(rt, namespace, _selectors(label_selector, field_selector)):  # noqa: B007
                    items += page
            except PagesGone:
                continue
            return items, version

    async def pages(self, rt: ResourceType, namespace: str | None = None) -> AsyncGenerator[Objs, None]:
        """As `list`, page by page; PagesGone where it took so long that the rest must be read from the beginning."""
        async for page, _ in self._pages(rt, namespace, {}):
            yield page

    async def _pages(
        self, rt: ResourceType, namespace: str | None, selectors: Mapping[str, str]
    ) -> AsyncGenerator[tuple[Objs, str], None]:
        query = {"limit": str(PAGE), **selectors}
        while True:
            try:
                answer = await self.raw("GET", rt.path(None, namespace), query=query)
            except Gone as error:
                if "continue" not in query:
                    raise
                raise PagesGone from error
            metadata = answer.get("metadata", {})
            page = [{"apiVersion": rt.api_version, "kind": rt.kind} | item for item in answer.get("items") or []]
            yield page, metadata.get("resourceVersion", "")
            if not metadata.get("continue"):
                return
            query["continue"] = metadata["continue"]

    async def create(self, rt: ResourceType, obj: Obj, *, dry_run: bool = False) -> Obj:
        """POST; the namespace is the object's."""
        return await self.raw("POST", rt.path(None, _namespace(rt, obj)), obj, query=_dry(dry_run))

    async def replace(self, rt: ResourceType, obj: Obj, *, dry_run: bool = False) -> Obj:
        """PUT; with `metadata.resourceVersion` it is a compare-and-swap."""
        return await self.raw("PUT", rt.path(_name(obj), _namespace(rt, obj)), obj, query=_dry(dry_run))

    async def replace_status(self, rt: ResourceType, obj: Obj) -> Obj:
        """PUT of the status alone; with `metadata.resourceVersion` it is a compare-and-swap."""
        return await self.raw("PUT", rt.path(_name(obj), _namespace(rt, obj), "status"), obj)

    async def swap_status(self, rt: ResourceType, obj: Obj) -> Obj:
        """As `replace_status`, for half the bytes: the status alone goes out and metadata alone come back.

        `obj` is whole as its `metadata.resourceVersion` names it, and so is what is returned: the server stores it only if it
        holds that very version. What the schema would prune from a status or add to it may not be in there.
        """
        metadata = obj["metadata"]
        held = {name: metadata[name] for name in ("name", "namespace", "uid", "resourceVersion") if name in metadata}
        body: Obj = {"apiVersion": rt.api_version, "kind": rt.kind, "metadata": held, "status": obj["status"]}
        path = rt.path(_name(obj), _namespace(rt, obj), "status")
        answer = await self.raw("PUT", path, body, accept=METADATA)
        return {**obj, "metadata": answer["metadata"]}

    async def merge_patch(
        self,
        rt: ResourceType,
        name: str,
        patch: Obj,
        namespace: str | None = None,
        *,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Obj:
        """JSON merge patch: null takes a field away, lists are replaced whole."""
        path = rt.path(name, namespace, subresource)
        return await self.raw("PATCH", path, patch, query=_dry(dry_run), content_type=MERGE_PATCH)

    async def apply(
        self,
        rt: ResourceType,
        obj: Obj,
        *,
        field_manager: str,
        force: bool = False,
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Obj:
        """Server-side apply: `field_manager` owns what `obj` holds; a Conflict names other owners unless `force`."""
        body = {"apiVersion": rt.api_version, "kind": rt.kind} | obj
        query = {"fieldManager": field_manager, "force": str(force).lower()} | _dry(dry_run)
        path = rt.path(_name(obj), _namespace(rt, obj), subresource)
        return await self.raw("PATCH", path, body, query=query, content_type=APPLY_PATCH)

    async def delete(
        self,
        rt: ResourceType,
        name: str,
        namespace: str | None = None,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        dry_run: bool = False,
    ) -> None:
        """DELETE, only that very object (`uid`) and state (`resource_version`) where given."""
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        given = {key: value for key, value in preconditions.items() if value is not None}
        body: Obj = {"apiVersion": "v1", "kind": "DeleteOptions"} | ({"preconditions": given} if given else {})
        if dry_run:
            body["dryRun"] = ["All"]  # beside a body the API server reads no query, and would delete
        await self.raw("DELETE", rt.path(name, namespace), body)

    async def watch(
        self,
        rt: ResourceType,
        namespace: str | None = None,
        *,
        resource_version: str | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        seconds: int = WATCH_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> AsyncGenerator[Events, None]:
        """Events in batches, the first (empty) batch when the server has taken the call.

        Without `resource_version` the stream begins with every object there is, closed by a bookmark that carries the
        annotation `k8s.io/initial-events-end` (WatchList). Ends when the server ends it; Gone means to begin anew.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        query |= _selectors(label_selector, field_selector)
        if resource_version is None:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = resource_version
        path = rt.path(None, namespace)
        headers = await self._headers() | {"Accept-Encoding": "identity"}
        async with aclosing(self._transport.stream(path, query, headers, silence_seconds)) as stream:
            async for lines in stream:
                yield [_event(line, path) for line in lines if line]

    async def _headers(self) -> dict[str, str]:
        authorization = await self._credentials()
        headers = {"Accept": JSON, "User-Agent": self._agent}
        return headers | {"Authorization": authorization} if authorization else headers


def _event(line: bytes, path: str) -> Event:
    event = orjson.loads(line)
    kind, obj = event["type"], event["object"]
    if kind == "ERROR":
        raise _watch_error(obj, path)
    return kind, obj


def _watch_error(status: Obj, path: str) -> KubeError:
    code = status.get("code")
    return from_status(code if isinstance(code, int) else 500, status, call=f"WATCH {path}")


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def _namespace(rt: ResourceType, obj: Obj) -> str | None:
    if not rt.namespaced:
        return None
    namespace = obj["metadata"].get("namespace")
    if not namespace:
        raise ValueError(f"{rt.kind} {obj['metadata'].get('name', '')} needs metadata.namespace")
    return str(namespace)


def _dry(dry_run: bool) -> dict[str, str]:
    return {"dryRun": "All"} if dry_run else {}


def _selectors(labels: str | None, fields: str | None) -> dict[str, str]:
    given = {"labelSelector": labels, "fieldSelector": fields}
    return {key: value for key, value in given.items() if value}
