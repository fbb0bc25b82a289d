"""From apply to enforced: the agent's read-back time less the time of the acknowledged write, on one clock."""

import asyncio
import math
import time
from collections.abc import Sequence

from bursar_local.demo.scenes import Stage
from bursar_local.errors import LocalStackError

PAUSE_SECONDS = 0.1
PATIENCE_SECONDS = 60.0


async def measure(stage: Stage, cluster: str, project: str, hours: int, rounds: int) -> list[float]:
    """Seconds of ``rounds`` changes of one allocation, one after the other, each an hour more than the one before."""
    return [await _once(stage, cluster, project, hours + step) for step in range(1, rounds + 1)]


async def _once(stage: Stage, cluster: str, project: str, hours: int) -> float:
    path = f"/api/v1/allocations/{project}/{cluster}"
    stored = await stage.client.request("GET", path)
    spec = {**stored["spec"], "resources": [{"name": "cpu", "hours": hours}]}
    await stage.client.request("PUT", path, body={"spec": spec})
    acknowledged = time.time()
    return max(0.0, await _enforced_at(stage, cluster, project, hours) - acknowledged)


async def _enforced_at(stage: Stage, cluster: str, project: str, hours: int) -> float:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        item = await stage.client.request("GET", f"/api/v1/allocations/{project}/{cluster}")
        granted = item["status"].get("granted", [])
        if granted and granted[0]["hours"] == hours:
            enforced = await stage.client.request("GET", f"/api/v1/clusters/{cluster}/accounts")
            found = enforced["acknowledgements"].get(item["uid"])
            if found is not None and found["revision"] >= item["status"]["grantRevision"]:
                return float(found["at"])
        await asyncio.sleep(PAUSE_SECONDS)
    raise LocalStackError(f"{project} on {cluster} was not enforced within {PATIENCE_SECONDS:.0f} s of its change")


def percentile(values: Sequence[float], percent: int) -> float | None:
    """Nearest-rank percentile; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else None
