"""The gateway's application: routers over one typed state."""

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from bursar_api import errors, health
from bursar_api.agents import router as agents_router
from bursar_api.features import allocations, audit, balances, clusters, entries, me, statements, usage
from bursar_api.state import Gateway

MAX_BODY_BYTES = 256 * 1024


class BodyLimit:
    """Refuses people's bodies over 256 KiB before they are read; the agents' paths have a limit of their own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/agent/"):
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        chunked = b"transfer-encoding" in dict(scope["headers"])
        if chunked or not declared.isdigit() or int(declared) > MAX_BODY_BYTES:
            response = errors.answer(413, "Too large", f"send at most {MAX_BODY_BYTES} bytes, with a Content-Length")
            await response(scope, receive, send)
            return
        await self._app(scope, receive, send)


def create_app(gateway: Gateway) -> FastAPI:
    """The application over a started state."""
    app = FastAPI(
        title="Bursar",
        version="v1",
        summary="HPC allocations: balances, allocations, clusters, use",
        docs_url=None,
        redoc_url=None,
    )
    app.state.gateway = gateway
    errors.install(app)
    metrics = health.instrument(app)
    app.include_router(health.router)
    for feature in (clusters, allocations, balances, usage, statements, entries, audit, me):
        app.include_router(feature.router, prefix="/api/v1")

    def keys(cluster: str) -> Sequence[str]:
        found = gateway.caches.clusters.get(None, cluster)
        status = found.get("status", {}) if found else {}
        return [entry["key"] for entry in status.get("agent", {}).get("keys", [])]

    def count_refused(reason: str) -> None:
        metrics.slots_refused.labels(reason).inc()

    app.state.agents = agents_router(gateway.ledger, keys, refused=count_refused)
    app.include_router(app.state.agents)
    app.add_middleware(BodyLimit)
    return app
