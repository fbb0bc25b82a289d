"""Health, readiness and metrics over plain HTTP on a loopback (or pod) address."""

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


class Health:
    """Answers /healthz while the process lives and /readyz once nothing that was announced is missing.

    Both end with a line that says who leads, once somebody does.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.leader: Callable[[], str] = lambda: ""
        self._registry = registry
        self._missing: dict[str, str] = {}
        self._runner: web.AppRunner | None = None
        self.port = 0

    def missing(self, part: str, why: str) -> None:
        """The process is not ready because of this part."""
        self._missing[part] = why

    def ready(self, part: str) -> None:
        """This part is ready."""
        self._missing.pop(part, None)

    async def start(self, address: str, port: int) -> None:
        """Listen; OSError where the port is taken."""
        app = web.Application()
        app.add_routes(
            [web.get("/healthz", self._healthz), web.get("/readyz", self._readyz), web.get("/metrics", self._metrics)]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, address, port).start()
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close the socket."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return self._say(200, "ok")

    async def _readyz(self, _: web.Request) -> web.Response:
        missing = [f"{part}: {why}" for part, why in sorted(self._missing.items())]
        return self._say(503, *missing) if missing else self._say(200, "ready")

    def _say(self, status: int, *lines: str) -> web.Response:
        leader = self.leader()
        said = (*lines, f"leader: {leader}") if leader else lines
        return web.Response(status=status, text="\n".join(said) + "\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
