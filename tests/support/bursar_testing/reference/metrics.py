"""`docs/reference/metrics.md`: what each part tells Prometheus, from the registries themselves."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from bursar_agent.health import Metrics as AgentMetrics
from bursar_api.health import GatewayMetrics
from bursar_kube.client import Kube
from bursar_operator.metrics import Metrics as OperatorMetrics
from bursar_testing.reference.markdown import code, page, sentence, table
from bursar_webhooks.metrics import Metrics as WebhookMetrics
from bursar_webhooks.view import View

INTRODUCTION: Final = (
    "Each process serves these at `/metrics`, in Prometheus' text format; the agent where it has a `health_port`."
)


def registries() -> dict[str, CollectorRegistry]:
    """The registry of each part, as its process makes it."""
    # A view that is not started asks the API server for nothing.
    view = View(cast(Kube, None), stale_seconds=60, now=lambda: datetime.now(UTC))
    return {
        "bursar-operator": OperatorMetrics().registry,
        "bursar-webhooks": WebhookMetrics(view)._registry,
        "bursar-gateway": GatewayMetrics().registry,
        "bursar-agent": AgentMetrics().registry,
    }


def metrics_page() -> str:
    """The page."""
    return page("Metrics", INTRODUCTION, *(_section(part, registry) for part, registry in registries().items()))


def _section(part: str, registry: CollectorRegistry) -> str:
    return f"## {part}\n\n{table(('metric', 'type', 'labels', 'meaning'), rows(registry))}"


def rows(registry: CollectorRegistry) -> Iterator[tuple[str, str, str, str]]:
    """Name as Prometheus shows it, type, labels, meaning."""
    for collector in registry._collector_to_names:
        assert isinstance(collector, MetricWrapperBase), collector
        for metric in collector.describe():
            name = f"{metric.name}_total" if metric.type == "counter" else metric.name
            labels = ", ".join(code(label) for label in collector._labelnames)
            yield code(name), metric.type, labels, sentence(metric.documentation)
