"""Health, readiness and metrics."""

import time
from collections.abc import Awaitable, Callable

from fastapi import APIRouter, FastAPI, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from starlette.responses import PlainTextResponse, Response

from bursar_api.features.common import State
from bursar_api.state import Gateway

STALE_SECONDS = 120.0
router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> Response:
    """The process answers."""
    return PlainTextResponse("ok")


@router.get("/readyz")
async def readyz(gateway: State) -> Response:
    """Ready while the caches follow the API server and the ledger answers; reads go on while this says no."""
    stale = stale_caches(gateway)
    await gateway.ledger.change_number()
    return PlainTextResponse(
        "ok" if not stale else f"no news from the API server about {', '.join(stale)}", 503 if stale else 200
    )


def stale_caches(gateway: Gateway) -> list[str]:
    """Names of kinds whose watch has been silent for longer than bookmarks allow."""
    names = ("clusters", "projects", "memberships", "pools", "allocations")
    return [n for n, i in zip(names, gateway.caches.all(), strict=True) if i.last_event_age > STALE_SECONDS]


class GatewayMetrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "bursar_gateway_requests",
            "Requests by route, method and status.",
            ["route", "method", "status"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "bursar_gateway_request_seconds", "Seconds per request by route.", ["route"], registry=self.registry
        )
        self.slots_refused = Counter(
            "bursar_gateway_usage_slots_refused",
            "Usage slots of agents that can't be true and were left out, by reason.",
            ["reason"],
            registry=self.registry,
        )


def instrument(app: FastAPI) -> GatewayMetrics:
    """Count and time requests by route; `/metrics` shows them, and whatever else is counted in what is returned."""
    metrics = GatewayMetrics()

    @app.middleware("http")
    async def measure(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        began = time.perf_counter()
        response = await call_next(request)
        route = getattr(request.scope.get("route"), "path", "unknown")
        metrics.requests.labels(route, request.method, response.status_code).inc()
        metrics.seconds.labels(route).observe(time.perf_counter() - began)
        return response

    @app.get("/metrics", include_in_schema=False)
    async def text() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return metrics
