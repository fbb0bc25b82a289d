"""What the operator tells Prometheus; one registry per process, made in `app`."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Counters and gauges of the operator."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.leader = Gauge("bursar_operator_leader", "1 while this process holds the Lease.", registry=self.registry)
        self.epoch = Gauge("bursar_operator_epoch", "Term of this leader.", registry=self.registry)
        self.published = Counter(
            "bursar_operator_published_entries",
            "Entries of the desired state that changed.",
            ["cluster"],
            registry=self.registry,
        )
        self.generation = Gauge(
            "bursar_operator_desired_generation", "Generation of the desired state.", ["cluster"], registry=self.registry
        )
        self.publish_seconds = Histogram(
            "bursar_operator_publish_seconds",
            "From the first change of a batch to its publication.",
            buckets=(0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
            registry=self.registry,
        )
        self.enrolments = Counter(
            "bursar_operator_enrolments", "Enrolments that were decided.", ["cluster", "outcome"], registry=self.registry
        )
        self.overdue = Gauge(
            "bursar_operator_overdue_deletions", "Objects whose deletion takes too long.", ["kind"], registry=self.registry
        )
        self.statements = Counter(
            "bursar_operator_release_statements", "Release statements that were judged.", ["outcome"], registry=self.registry
        )
        self.failures = Counter(
            "bursar_operator_failures", "Passes that failed and are repeated.", ["part"], registry=self.registry
        )
        self.ledger_change = Gauge(
            "bursar_operator_ledger_change_number", "Last change of the ledger that was taken in.", registry=self.registry
        )
