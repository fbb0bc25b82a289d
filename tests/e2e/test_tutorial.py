"""The tutorial, typed in as it stands: each block in one shell, and what the text says came of it."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bursar_local.endpoints import Endpoints

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "first-allocation.md"
BLOCK = re.compile(r"^```bash( refused)?\n(.*?)^```$", re.M | re.S)
REFUSAL = re.compile(r"^```text\n(.*?)\n```$", re.M | re.S)
STEP_SECONDS = 90


class Shell:
    """One bash that a reader types into."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        self._child = child

    @classmethod
    async def start(cls, folder: Path, environment: dict[str, str]) -> "Shell":
        child = await asyncio.create_subprocess_exec(
            "bash", cwd=folder, env=environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        return cls(child)

    async def type(self, text: str, *, refused: bool = False) -> str:
        """Everything that a block prints; it fails where a command of it does, unless it is to be refused."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(f'set {"+" if refused else "-"}e -o pipefail\n{text}\necho "-- $?"\n'.encode())
        await self._child.stdin.drain()
        said: list[str] = []
        while (line := await asyncio.wait_for(self._child.stdout.readline(), STEP_SECONDS)) and not line.startswith(b"-- "):
            said.append(line.decode())
        assert line == (b"-- 1\n" if refused else b"-- 0\n"), "".join(said)
        return "".join(said)

    async def end(self) -> None:
        """Close it and whatever a failed block left running."""
        if self._child.returncode is None:
            assert self._child.stdin is not None
            self._child.stdin.write(b'kill "$AGENT" 2>/dev/null; exit 0\n')
            self._child.stdin.close()
        await asyncio.wait_for(self._child.wait(), 30)


@pytest.fixture
async def shell(stack: Endpoints, tmp_path: Path) -> AsyncIterator[Shell]:
    """As the tutorial's second terminal: the stack's kubectl and kubeconfig, the programs, the stack's folder."""
    programs = [str(Path(sys.executable).parent), str(Path(stack.kubectl[0]).parent), os.environ["PATH"]]
    own = {"KUBECONFIG": str(stack.kubeconfig), "BURSAR_DIR": str(stack.directory), "PATH": os.pathsep.join(programs)}
    shell = await Shell.start(tmp_path, {**os.environ, **own})
    try:
        yield shell
    finally:
        await shell.end()


async def until(state: Path, holds: Callable[[dict[str, Any]], bool]) -> None:
    """Wait for the simulator to come that far."""
    found: dict[str, Any] = {}
    for _ in range(STEP_SECONDS * 5):
        found = json.loads(state.read_text()) if state.exists() else {}
        if found and holds(found):
            return
        await asyncio.sleep(0.2)
    pytest.fail(f"the simulator never came that far: {found}")


@pytest.mark.timeout(400)
async def test_the_tutorial_tells_the_truth(shell: Shell, tmp_path: Path) -> None:
    text = PAGE.read_text()
    blocks = [(bool(match[1]), match[2]) for match in BLOCK.finditer(text)]
    declare, ask, prepare, agent, watch, more, too_much, take_back = blocks
    state = tmp_path / "build" / "tutorial" / "state" / "status.json"

    assert "project-glaciers" in text
    assert "north" in await shell.type(declare[1])
    assert re.search(r"north-shared\s+north\s+10\s", await shell.type(ask[1]))
    await shell.type(prepare[1])
    assert "allocation.bursar.dev/winter condition met" in await shell.type(agent[1])
    await until(state, lambda found: found["finished"] == 2 and found["refused_count"] == 1)
    assert "AssocGrpCPUMinutesLimit" in await shell.type(watch[1])
    assert "configured" in await shell.type(more[1])
    await until(state, lambda found: found["finished"] == 3)
    assert too_much[0]
    refusal = REFUSAL.findall(text)[0]
    assert refusal in await shell.type(too_much[1], refused=True)
    assert await balance(shell, used=15)
    said = await shell.type(take_back[1])
    assert '"hours":15' in said


async def balance(shell: Shell, *, used: int) -> bool:
    """Wait until the books show it."""
    for _ in range(STEP_SECONDS):
        rows = json.loads(await shell.type("bursar balance --project glaciers -o json"))
        if rows[0]["resources"][0]["usedHours"] == used:
            return True
        await asyncio.sleep(1)
    return False
