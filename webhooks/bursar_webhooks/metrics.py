"""What the webhook counts."""

from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from bursar_webhooks.review import Review
from bursar_webhooks.view import View


class Metrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self, view: View) -> None:
        self._registry = CollectorRegistry()
        self._reviews = Counter(
            "bursar_webhook_reviews",
            "Objects judged.",
            ("kind", "operation", "answer"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "bursar_webhook_review_seconds",
            "Time to judge one object.",
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0),
            registry=self._registry,
        )
        age = Gauge(
            "bursar_webhook_copy_age_seconds",
            "Seconds since the copy of a kind was brought up to date last; a minute at most when nothing changes.",
            ("plural",),
            registry=self._registry,
        )
        for informer in view.informers:
            age.labels(informer.rt.plural).set_function(partial(getattr, informer, "last_event_age"))

    def judged(self, review: Review, answer: str, seconds: float) -> None:
        """Count one answer: allowed, refused or not-ready."""
        self._reviews.labels(review.kind, review.operation, answer).inc()
        self._seconds.observe(seconds)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
