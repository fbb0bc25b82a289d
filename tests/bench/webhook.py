"""The webhook: what it adds to a create, and its throughput beside Kopf's own webhook server and a plain FastAPI one.

Rounds with and without it alternate on one API server, so that both meet the same machine.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bursar_kube.errors import KubeError
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, NAMESPACES, PROJECTS, QUOTAPOOLS, WEBHOOKCONFIGS
from bursar_local.files import share
from bursar_local.ports import free_ports
from bursar_local.process import Command, Process
from bursar_testing import manifests
from bursar_testing.bench import Row
from bursar_testing.benchstage import Obj, Stage, clear, cpu_seconds, row, until
from bursar_testing.reviewload import ReviewLoad, review_of
from bursar_testing.webhooks import Webhook, fresh, launch, put_certificate, ready, register

HERE = Path(__file__).parent
NAMESPACE = "project-p0"
ROUNDS, CREATES = 26, 100  # of each side: 2,600
ASKS, WIDTH, ASK_ROUNDS = 6_400, 32, 5
P50_BAR, P50_MOONSHOT = 1.2, 0.8


@dataclass(frozen=True)
class Server:
    """A webhook to be asked directly."""

    name: str
    pid: int
    load: ReviewLoad


async def furnish(stage: Stage) -> None:
    """What the created allocations are judged against; no operator, so nothing else writes."""
    for part in (share("rbac") / "webhooks.yaml", share("policies")):
        await stage.plane.kubectl("apply", "--server-side", "--force-conflicts", f"--filename={part}")
    await stage.kube.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
    await stage.kube.create(CLUSTERS, manifests.cluster("bench", capacity=100_000))
    await stage.kube.create(PROJECTS, manifests.project("p0", "alice"))
    await stage.kube.create(QUOTAPOOLS, manifests.pool("bench", "bench", 1_000_000))


def allocation() -> Obj:
    """One more."""
    return manifests.allocation("p0", fresh("a"), "bench", 1, "bench")


async def create_seconds(stage: Stage, times: int) -> list[float]:
    """One client, one create after the other."""
    seconds = []
    for _ in range(times):
        obj = allocation()
        began = time.perf_counter()
        await stage.kube.create(ALLOCATIONS, obj)
        seconds.append(time.perf_counter() - began)
    return seconds


async def unregister(stage: Stage) -> None:
    """Take the configuration away, and wait until the API server has forgotten it."""
    await stage.kube.delete(WEBHOOKCONFIGS, "bursar")
    await until(lambda: _unjudged(stage))


async def _unjudged(stage: Stage) -> bool:
    probe = manifests.project(fresh("p"), "alice")
    probe["spec"]["account"] = "bursar"
    try:
        await stage.kube.create(PROJECTS, probe, dry_run=True)
    except KubeError:
        return False
    return True


def percentile(seconds: Sequence[float], share_: float) -> float:
    """In milliseconds."""
    return 1000 * sorted(seconds)[min(len(seconds) - 1, int(share_ * len(seconds)))]


async def added(stage: Stage, webhook: Webhook) -> list[Row]:
    """Creates with and without the webhook, round by round in turn."""
    bare: list[float] = []
    judged: list[float] = []
    differences = []
    worked = 0.0
    await create_seconds(stage, CREATES)
    for _ in range(ROUNDS):
        bare += (without := await create_seconds(stage, CREATES))
        await register(stage.kube, webhook)
        await create_seconds(stage, 5)
        before = cpu_seconds(webhook.process.pid)
        judged += (with_it := await create_seconds(stage, CREATES))
        worked += cpu_seconds(webhook.process.pid) - before
        differences.append(percentile(with_it, 0.5) - percentile(without, 0.5))
        await unregister(stage)
        await create_seconds(stage, 5)
        await clear(stage, NAMESPACE)
    p50 = percentile(judged, 0.5) - percentile(bare, 0.5)
    p99 = percentile(judged, 0.99) - percentile(bare, 0.99)
    low, *_, high = statistics.quantiles(differences, n=4)
    count = f"n = {len(judged):,} each, {ROUNDS} rounds in turn"
    note = (
        f"moonshot {P50_MOONSHOT} ms {'met' if p50 <= P50_MOONSHOT else 'missed'}; {count}, quartiles {low:.2f} to {high:.2f}"
    )
    return [
        _beside("webhook.added_p50", p50, percentile(bare, 0.5), f"<= {P50_BAR}", p50 <= P50_BAR, note),
        _beside("webhook.added_p99", p99, percentile(bare, 0.99), None, None, count),
        row("webhook.cpu_per_review", 1000 * worked / len(judged), "ms", None, None, None, "the webhook's process, one client"),
    ]


def _beside(name: str, value: float, bare: float, bar: str | None, met: bool | None, note: str) -> Row:
    return row(name, value, "ms", bare, bar, met, f"baseline: a create without it; {note}")


@asynccontextmanager
async def baseline(stage: Stage, webhook: Webhook, name: str, argv: Sequence[str]) -> AsyncIterator[Server]:
    """A server of another making with the same certificate, as a process of its own."""
    (port,) = free_ports(1)
    certificate, key = stage.folder / f"{name}.crt", stage.folder / f"{name}.key"
    certificate.write_bytes(webhook.issued.certificate)
    key.write_bytes(webhook.issued.key)
    settings = {"BENCH_PORT": str(port), "BENCH_CERTIFICATE": str(certificate), "BENCH_KEY": str(key)}
    process = await Process.start(
        Command(name, tuple(argv), settings | {"KUBECONFIG": str(stage.plane.kubeconfig)}), stage.folder
    )
    try:
        await until(lambda: _listens(process, port))
        yield Server(name, process.pid, _load(port, webhook))
    finally:
        await process.stop()


async def _listens(process: Process, port: int) -> bool:
    if process.return_code is not None:
        raise RuntimeError("\n".join(process.last_lines(20)))
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _load(port: int, webhook: Webhook) -> ReviewLoad:
    obj = allocation()
    obj["metadata"] |= {"uid": "7c0a5f0e-93a1-4d5e-8f57-0c6f4a3c2b10", "generation": 1, "finalizers": ["bursar.dev/release"]}
    obj["spec"]["requestedBy"] = {"user": "bursar-admin"}
    return ReviewLoad(port, webhook.issued.authorities, review_of(obj))


async def throughput(stage: Stage, webhook: Webhook) -> list[Row]:
    """32 clients straight over TLS, the three servers in turn."""
    kopf = (
        sys.executable,
        "-P",
        "-m",
        "kopf",
        "run",
        "--quiet",
        "--standalone",
        "-n",
        NAMESPACE,
        str(HERE / "_kopfwebhook.py"),
    )
    plain = (sys.executable, "-P", str(HERE / "_plainwebhook.py"))
    async with baseline(stage, webhook, "kopf", kopf) as second, baseline(stage, webhook, "fastapi", plain) as third:
        ours = Server("bursar", webhook.process.pid, _load(httpx.URL(webhook.url).port or 0, webhook))
        servers = (ours, second, third)
        rates: dict[str, list[float]] = {server.name: [] for server in servers}
        cpu = dict.fromkeys(rates, 0.0)
        for _ in range(ASK_ROUNDS):
            for server in servers:
                before = cpu_seconds(server.pid)
                rates[server.name].append(ASKS / await server.load.ask(ASKS, WIDTH))
                cpu[server.name] += cpu_seconds(server.pid) - before
    median = {name: statistics.median(found) for name, found in rates.items()}
    each = {name: 1000 * seconds / (ASKS * ASK_ROUNDS) for name, seconds in cpu.items()}
    return [
        row(
            f"webhook.vs_{name}",
            median["bursar"],
            "reviews/s",
            median[name],
            None,
            None,
            f"baseline: {words}, a trivial check; {WIDTH} clients; CPU each {each['bursar']:.3f} to {each[name]:.3f} ms",
        )
        for name, words in (("kopf", "Kopf's webhook server"), ("fastapi", "plain FastAPI on uvicorn"))
    ]


async def run() -> list[Row]:
    """Every figure of the webhook."""
    async with Stage.open() as stage:
        await furnish(stage)
        webhook = await launch(stage.plane, stage.folder)
        try:
            await put_certificate(stage.kube, webhook.issued)
            await ready(webhook)
            return await added(stage, webhook) + await throughput(stage, webhook)
        finally:
            await webhook.process.stop()
