"""The demo's kubectl: what a person would type."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

from bursar_local.demo.agents import run
from bursar_local.endpoints import Endpoints
from bursar_local.errors import LocalStackError

Obj = dict[str, Any]


class Kubectl:
    """kubectl as the administrator of the local stack."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._argv = endpoints.kubectl

    async def apply(self, path: Path) -> str:
        """`kubectl apply -f FILE`."""
        return (await run(*self._argv, "apply", "-f", str(path)))[1]

    async def apply_text(self, manifest: str) -> tuple[int, str]:
        """`kubectl apply -f -`: exit code and what it printed."""
        code, out, err = await run(*self._argv, "apply", "-f", "-", stdin=manifest, check=False)
        return code, (out + err).strip()

    async def get(self, *what: str) -> list[Obj]:
        """`kubectl get … -o json`: the items."""
        found = json.loads((await run(*self._argv, "get", *what, "-o", "json"))[1])
        items: list[Obj] = found.get("items", [found])
        return items

    async def wait(self, condition: str, kind: str, *, namespaces: bool = False, seconds: float = 60) -> list[Obj]:
        """Until every object of a kind has the condition True; LocalStackError names those that have not."""
        deadline = time.monotonic() + seconds
        while True:
            items = await self.get(kind, *(["-A"] if namespaces else []))
            late = [item for item in items if not holds(item, condition)]
            if items and not late:
                return items
            if time.monotonic() > deadline:
                raise LocalStackError(f"not {condition} after {seconds:.0f} s: {', '.join(map(told, late)) or f'no {kind}'}")
            await asyncio.sleep(0.3)


def condition_of(item: Obj, kind: str) -> Obj | None:
    """A condition by its type."""
    return next((c for c in item.get("status", {}).get("conditions", []) if c["type"] == kind), None)


def holds(item: Obj, kind: str) -> bool:
    """Whether a condition is True."""
    found = condition_of(item, kind)
    return found is not None and found["status"] == "True"


def told(item: Obj) -> str:
    """An object and what its Ready condition says."""
    found = condition_of(item, "Ready")
    return (
        f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']} ({found['message'] if found else 'no status yet'})"
    )
