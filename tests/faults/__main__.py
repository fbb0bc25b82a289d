"""`make faults`: long races and deaths of operator processes; what they came to is in `build/faults.json`.

The exit status is 0 where all of it is clean. Each entry: name, operations, violations, lost, stuck. Histories of races that
were not clean are kept in `build/faults/`.
"""

import argparse
import asyncio
import json
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from bursar_testing import crashprocess
from bursar_testing.crashprocess import Entry
from bursar_testing.racing.race import Plan, race

OUTPUT: Final = Path("build/faults.json")
KEPT: Final = Path("build/faults")
OPERATIONS: Final = 20_000
RACES: Final = 4
SEED: Final = 1
DECIDE_SECONDS: Final = 5.0

Report = Callable[[str], None]


def main() -> int:
    """Run what is asked for; 0 where all of it is clean."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["race", "crash", []], help="race, crash; default: both")
    parser.add_argument("--operations", type=int, default=OPERATIONS, help="of all races together (default %(default)s)")
    parser.add_argument("--races", type=int, default=RACES, help="how many, each with a seed of its own (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the first race (default %(default)s)")
    bound = "bound of I4; a busy machine needs more (default %(default)s)"
    parser.add_argument("--decide-seconds", type=float, default=DECIDE_SECONDS, help=bound)
    chosen = parser.parse_args()
    parts = chosen.parts or ["race", "crash"]
    seeds = range(chosen.seed, chosen.seed + chosen.races)
    plans = [Plan(-(-chosen.operations // len(seeds)), seed, None, decide_seconds=chosen.decide_seconds) for seed in seeds]
    entries = asyncio.run(run(plans if "race" in parts else [], print, crashes="crash" in parts))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(entries, indent=2) + "\n")
    wrong = [entry for entry in entries if entry["violations"] or entry["lost"] or entry["stuck"]]
    done = sum(entry["operations"] for entry in entries)
    print(f"{done} operations, {len(wrong)} of {len(entries)} runs not clean: {OUTPUT}")
    return 1 if wrong or not entries else 0


async def run(plans: Sequence[Plan], report: Report, *, crashes: bool) -> list[Entry]:
    """One after the other."""
    entries = [await _race(plan, report) for plan in plans]
    return entries + (await crashprocess.run(report) if crashes else [])


async def _race(plan: Plan, report: Report) -> Entry:
    seed, folder = plan.seed, KEPT / f"race-{plan.seed}"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        outcome = await race(replace(plan, keep=folder.absolute()))
    except TimeoutError:  # nobody led, or nothing was ready, for minutes
        report(f"race {seed} came to a stop:\n{traceback.format_exc()}")
        return Entry(name=f"race {seed}", operations=0, violations=0, lost=0, stuck=1)
    report(f"race {seed}: {outcome.in_words()}")
    if outcome.is_clean:
        shutil.rmtree(folder)
    return Entry(
        name=f"race {seed}",
        operations=outcome.operations,
        violations=outcome.violations,
        lost=outcome.lost,
        stuck=outcome.stuck,
    )


if __name__ == "__main__":
    sys.exit(main())
