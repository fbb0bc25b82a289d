"""`POST …/gates/{gate}`: written with the person's own token, once, and only for a gate that a tranche names."""

import asyncio

import pytest

from bursar_kube import resources
from bursar_testing import manifests as make
from bursar_testing.gatewaystack import GatewayStack

TRANCHES = [
    {"percent": 40, "from": "2026-01-01T00:00:00Z"},
    {"percent": 30, "gate": "review"},
    {"percent": 30, "gate": "final"},
]


@pytest.fixture
async def project(running: GatewayStack, fresh: str) -> str:
    """A project of alice with an allocation in tranches."""
    await running.apply(make.cluster(f"g-{fresh}"))
    await running.project(f"g-{fresh}", "alice")
    await running.allocation(f"g-{fresh}", "main", f"g-{fresh}", tranches=TRANCHES)
    return f"g-{fresh}"


async def opened(running: GatewayStack, project: str) -> list[str]:
    """What stands in the spec."""
    stored = await running.kube.get(resources.ALLOCATIONS, "main", f"project-{project}")
    found: list[str] = stored["spec"].get("openedGates", [])
    return found


async def test_gates_open_once(running: GatewayStack, project: str) -> None:
    gates = ("review", "final", "review")
    answers = await asyncio.gather(*(running.ask("POST", f"allocations/{project}/main/gates/{gate}", "dana") for gate in gates))
    assert [answer.status_code for answer in answers] == [200, 200, 200], [answer.text for answer in answers]
    assert sorted(await opened(running, project)) == ["final", "review"]


@pytest.mark.parametrize(
    ("path", "user", "status", "words"),
    [
        ("main/gates/none", "dana", 422, "has no gate none: its tranches wait for final, review"),
        ("main/gates/review", "alice", 403, "alice"),
        ("main/gates/review", "bob", 404, "there is no project"),
        ("none/gates/review", "dana", 404, "none"),
        ("main/gates/review?dryRun=true", "dana", 200, "review"),
    ],
)
async def test_refused_and_nothing_opened(
    running: GatewayStack, project: str, path: str, user: str, status: int, words: str
) -> None:
    answer = await running.ask("POST", f"allocations/{project}/{path}", user)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert await opened(running, project) == []
