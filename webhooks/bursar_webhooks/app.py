"""The HTTP face: POST /validate for the API server, /healthz, /readyz and /metrics for operations."""

import asyncio
import time
from typing import Final

import structlog
from aiohttp import web

from bursar_webhooks.decide import decide, may_be_lag
from bursar_webhooks.metrics import Metrics
from bursar_webhooks.review import BadReview, Review, answer, not_ready, parse
from bursar_webhooks.verdict import Verdict
from bursar_webhooks.view import View

# Twice the largest object that an API server takes, and some.
MAX_BODY_BYTES: Final = 8 * 2**20
LAG_TRIES: Final = 6
LAG_SECONDS: Final = 0.05
_LOG = structlog.get_logger("bursar.webhooks")


class Admission:
    """Answers the API server's questions from the view."""

    def __init__(self, view: View, metrics: Metrics) -> None:
        self._view = view
        self._metrics = metrics

    async def validate(self, request: web.Request) -> web.Response:
        """One AdmissionReview."""
        began = time.perf_counter()
        try:
            review = parse(await request.read())
        except BadReview as error:
            return web.Response(text=f"{error}\n", status=400)
        content, outcome = await self._answer(review)
        self._metrics.judged(review, outcome, time.perf_counter() - began)
        return web.Response(body=content, content_type="application/json")

    async def healthz(self, request: web.Request) -> web.Response:
        """The process answers."""
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """Whether it would decide anything."""
        problem = self._view.problem()
        return web.Response(text="ok\n") if problem is None else web.Response(text=f"not ready: {problem}\n", status=503)

    async def text_metrics(self, request: web.Request) -> web.Response:
        """The counters."""
        return web.Response(body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _answer(self, review: Review) -> tuple[bytes, str]:
        problem = self._view.problem()
        if problem is not None and not review.deleting and review.spec_changed:
            _LOG.warning("refused unread", kind=review.kind, name=review.name, problem=problem)
            return not_ready(review, problem), "not-ready"
        verdict = await self._judge(review)
        if not verdict.allowed:
            reasons = sorted({violation.reason.value for violation in verdict.violations})
            _LOG.info("refused", kind=review.kind, name=review.name, reasons=reasons, dry_run=review.dry_run)
        return answer(review, verdict), "allowed" if verdict.allowed else "refused"

    async def _judge(self, review: Review) -> Verdict:
        """Decide; where an object seems not to be there, give the watch a moment: `kubectl apply` makes it just before."""
        verdict = decide(review, self._view)
        for _ in range(LAG_TRIES):
            if not may_be_lag(verdict):
                break
            await asyncio.sleep(LAG_SECONDS)
            verdict = decide(review, self._view)
        return verdict


def make_app(view: View) -> web.Application:
    """The application over a started view."""
    admission = Admission(view, Metrics(view))
    app = web.Application(client_max_size=MAX_BODY_BYTES)
    app.add_routes(
        [
            web.post("/validate", admission.validate),
            web.get("/healthz", admission.healthz),
            web.get("/readyz", admission.readyz),
            web.get("/metrics", admission.text_metrics),
        ]
    )
    app.on_response_prepare.append(_say_no_version)
    return app


async def _say_no_version(request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Server"] = "bursar-webhooks"
