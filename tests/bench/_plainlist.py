"""The plain way to start: one process that lists every allocation and parses it. Prints megabytes resident at the peak."""

import asyncio
import re
import sys
from pathlib import Path

from bursar_kube.client import Kube
from bursar_kube.resources import ALLOCATIONS


async def main() -> None:
    """List, hold, tell."""
    kube = await Kube.connect(sys.argv[1])
    held = await kube.list(ALLOCATIONS)
    await kube.close()
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    print(len(held), int(peak[1]) / 1024 if peak else 0.0)


asyncio.run(main())
