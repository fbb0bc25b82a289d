"""The end: the books against an independent sum, and `build/demo.json`."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bursar_local.demo import books, jobs
from bursar_local.demo.latency import percentile
from bursar_local.demo.scenes import Stage, example

Obj = dict[str, Any]
SETTLE_SECONDS = 60.0


async def expected(stage: Stage, cluster: str) -> books.Expected:
    """What must be booked: from `sacct` where a real Slurm ran, else from the log."""
    if cluster == "alpha" and stage.slurm is not None:
        return books.from_sacct(await jobs.records(stage.slurm, cluster))
    if cluster == "alpha":
        return books.Expected(0, {})
    return books.from_log(example("data/nasa-ipsc-1993.swf.gz"), example("users.csv"))


async def check(stage: Stage, cluster: str) -> Obj:
    """One cluster's books, once they have settled: the last report may be a second away."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        # Read anew each time: a record may reach the scheduler's own accounting some seconds late.
        wanted = await expected(stage, cluster)
        found = books.booked((await stage.client.usage(cluster=cluster, by="account"))["items"])
        off = books.differences(wanted.seconds, found)
        if not off or time.monotonic() > deadline:
            return await _row(stage, cluster, wanted, found, off)
        await asyncio.sleep(0.5)


async def _row(stage: Stage, cluster: str, wanted: books.Expected, found: Mapping[str, int], off: Mapping[str, int]) -> Obj:
    declared = await stage.client.request("GET", f"/api/v1/clusters/{cluster}")
    return {
        "cluster": cluster,
        "scheduler": declared["spec"]["scheduler"]["type"],
        "schedulerVersion": declared["status"].get("agent", {}).get("schedulerVersion"),
        "jobs": wanted.jobs,
        "accounts": len(wanted.seconds),
        "secondsBooked": sum(found.values()),
        "secondsExpected": sum(wanted.seconds.values()),
        "difference": sum(abs(value) for value in off.values()),
        "differenceByAccount": dict(off),
    }


def document(rows: list[Obj], latencies: Mapping[str, list[float]], stage: Stage, began: float) -> Obj:
    """The JSON summary."""
    for row in rows:
        values = latencies.get(row["cluster"], [])
        row["applyToEnforcedSeconds"] = {"n": len(values), "p50": percentile(values, 50), "p95": percentile(values, 95)}
    told = {refusal["cluster"] for refusal in stage.refusals if refusal["kind"] == "JobNotStarted"}
    wanted = {"ipsc"} | ({"alpha"} if stage.slurm is not None else set())
    good = all(row["difference"] == 0 for row in rows) and told == stage.restarted == wanted
    return {"ok": good, "seconds": round(time.monotonic() - began, 1), "clusters": rows, "refusals": stage.refusals}


def write(path: Path, found: Obj) -> None:
    """Write the summary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n")


def lines(found: Obj, path: Path) -> list[tuple[str, str]]:
    """The closing lines."""
    shown = []
    for row in found["clusters"]:
        if row["cluster"] == "alpha" and row["scheduler"] != "slurm":
            shown.append(("alpha: no real Slurm could run here, so it ran no jobs and there is nothing to compare", "bad"))
            continue
        exact = row["difference"] == 0
        source = "sacct" if row["scheduler"] == "slurm" else "the log"
        what = f"{row['jobs']:,} jobs of {row['accounts']} accounts, {row['secondsBooked']:,} cpu seconds booked"
        check = f"{row['secondsExpected']:,} by an independent sum over {source}"
        verdict = "equal to the second" if exact else f"OFF by {row['differenceByAccount']}"
        version = str(row["schedulerVersion"]).removeprefix(row["scheduler"]).strip()
        text = f"{row['cluster']} ({row['scheduler']} {version}): {what}, {check}: {verdict}"
        shown.append((text, "good" if exact else "bad"))
        quick = row["applyToEnforcedSeconds"]
        if quick["n"]:
            times = f"p50 {quick['p50']:.2f} s, p95 {quick['p95']:.2f} s of {quick['n']}"
            shown.append((f"  apply to enforced on {row['cluster']}: {times}", "note"))
    shown.append((f"summary in {path}", "note"))
    return shown
