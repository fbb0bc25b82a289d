"""Pieces of work that are measured in a process of their own: seconds, memory at the peak, CPU seconds."""

import subprocess
import sys
import time
from typing import Final, NamedTuple


class Measured(NamedTuple):
    """What a process took: seconds of the clock, MiB resident at the peak, CPU seconds."""

    seconds: float
    memory: float
    cpu: float


_TELL: Final = """
import atexit, sys, time
def tell():
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
    print(int(peak.split()[1]) / 1024, time.process_time(), file=sys.stderr)
atexit.register(tell)
"""
REPLAY: Final = _TELL + "from bursar_agent.__main__ import main\nmain()\n"
PLAIN: Final = (
    _TELL
    + """
import collections, gzip
sums = collections.Counter()
for line in gzip.open(sys.argv[1], "rt"):
    if not line.startswith(";"):
        parts = line.split()
        sums[parts[12], parts[11]] += int(parts[3]) * int(parts[4])
print(sum(sums.values()))
"""
)


SIMULATOR: Final = (
    _TELL
    + """
import asyncio
from pathlib import Path
from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.simulator import SimulatedScheduler, SimulatorSettings
from bursar_testing.agents import cluster_settings
settings = SimulatorSettings.model_validate({"log": sys.argv[1], "ends_at": 1_700_000_000, "processors": int(sys.argv[3])})
scheduler = SimulatedScheduler(settings, Path(sys.argv[2]))
members = {}
for job in scheduler.machine._coming:
    members.setdefault(job.account, set()).add(job.user)
new = {"create": True, "description": "bursar:", "parent": "bursar", "limits": {"cpu": 10**9}}
changes = [AccountChange(name, **new, add_members=frozenset(users)) for name, users in members.items()]
asyncio.run(scheduler.apply(cluster_settings("big"), [AccountChange("bursar", create=True, limits={"cpu": 10**12}), *changes]))
while scheduler.machine.next_event is not None:
    scheduler.advance(scheduler.machine.now + 86_400)
asyncio.run(scheduler.close())
print(len(scheduler.machine.finished))
"""
)
BOOK: Final = (
    _TELL
    + """
from pathlib import Path
from bursar_agent.usagebook import UsageBook
from bursar_domain.buckets import Amounts, RowKey, SlotKey
accounts, hours = 10_000, 24
book, kept = UsageBook(Path(sys.argv[2]), epoch=1), {}
for hour in range(hours):
    slots = {
        SlotKey(f"account{n}", hour * 3600): {
            RowKey(f"user{n}", name): Amounts((900 + n, 900, 900, hour)) for name in ("cpu", "memory", "gpu")
        }
        for n in range(accounts)
    }
    if sys.argv[1] == "book":
        book.record(slots, hour * 3600, (hour + 1) * 3600)
        book.sent([book.report(key) for key in book.unsent], None)
    else:
        kept |= slots
"""
)


def measure(code: str, *arguments: str, rounds: int = 3) -> Measured:
    """The quickest of some rounds."""
    return min(_once(code, arguments) for _ in range(rounds))


def _once(code: str, arguments: tuple[str, ...]) -> Measured:
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-P", "-c", code, *arguments], capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - begun
    memory, cpu = done.stderr.split()[-2:]
    return Measured(seconds, float(memory), float(cpu))
