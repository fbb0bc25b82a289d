"""The command line: bad settings are named, enrol and run work as processes, plan prints commands."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from bursar_agent.settings import BadSetting, load
from bursar_testing.agents import account, allocation, cluster_settings, soon
from bursar_testing.agentstack import Stack

GOOD = {"cluster": "c", "gateway": "https://127.0.0.1:8443", "scheduler": "simulator"}


def config(folder: Path, **settings: Any) -> Path:
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump({**GOOD, "state_directory": str(folder / "state"), **settings}))
    return path


async def agent(*arguments: object, code: int = 0) -> str:
    """Run the agent's command to its end; what it wrote."""
    argv = [sys.executable, "-P", "-m", "bursar_agent", *map(str, arguments)]
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == code, err.decode()
    assert "Traceback" not in err.decode()
    return out.decode() + err.decode()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gatevay": "x"}, "gatevay: there is no such setting"),
        ({"gateway": "http://127.0.0.1"}, "gateway: "),
        ({"cluster": "C!"}, "cluster: "),
        ({"cycle_interval_seconds": 0}, "cycle_interval_seconds: "),
        ({"gateway_ca": "/nowhere/ca.crt"}, "gateway_ca: "),
        ({"gateway_ca": __file__}, "holds no certificates"),
        ({"state_directory": "/nowhere/at/all"}, "state_directory: "),
        ({"scheduler_settings": 5}, "scheduler_settings: "),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSetting) as caught:
        load(config(tmp_path, **settings), {})
    assert words in str(caught.value)


def test_the_environment_wins_and_misspelt_names_are_refused(tmp_path: Path) -> None:
    path = config(tmp_path)
    assert load(path, {"BURSAR_AGENT_CLUSTER": "other", "PATH": "x"}).cluster == "other"
    with pytest.raises(BadSetting, match="BURSAR_AGENT_CLUSTERS: there is no such setting"):
        load(path, {"BURSAR_AGENT_CLUSTERS": "other"})


@pytest.mark.parametrize("text", ["- a list", "a: b: c", "\x00"])
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "agent.yaml").write_text(text)
    with pytest.raises(BadSetting, match=r"agent\.yaml"):
        load(tmp_path / "agent.yaml", {})


async def test_the_agent_refuses_to_start_on_a_bad_setting_and_names_it(tmp_path: Path) -> None:
    assert "scheduler: there is no plug-in flux" in await agent("doctor", "-c", config(tmp_path, scheduler="flux"), code=1)
    bad = config(tmp_path, scheduler_settings={"spede": 1})
    assert "scheduler_settings.spede: there is no such setting" in await agent("run", "-c", bad, code=2)
    assert "not enrolled" in await agent("run", "-c", config(tmp_path), code=1)
    assert "usage_interval_seconds" in await agent("run", "-c", config(tmp_path, usage_interval_seconds="often"), code=2)


async def test_enrol_plan_run_and_stop_as_processes(stack: Stack, tmp_path: Path) -> None:
    cluster = cluster_settings("shell")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    await stack.publish(cluster, {"aa": account("aa", allocation("shell-x", 10), members=("ann",))})
    address = {"gateway": stack.address, "gateway_ca": str(stack.authority)}
    path = config(tmp_path, cluster="shell", cycle_interval_seconds=0.1, health_port=port, **address)
    deciding = asyncio.create_task(stack.decide())
    assert "enrolled for cluster shell" in await agent("enrol", "-c", path, "--token", stack.token("shell"))
    await deciding
    assert "no desired state was fetched yet" in await agent("plan", "-c", path, code=1)
    argv = [sys.executable, "-P", "-m", "bursar_agent", "run", "-c", str(path)]
    child = await asyncio.create_subprocess_exec(*argv, env={**os.environ}, stderr=asyncio.subprocess.DEVNULL)
    try:

        async def is_enforced() -> bool:
            return (await stack.ledger.acknowledgements("shell")).get("shell-x") == 1

        await soon(is_enforced, "the process enforces")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            assert [(await client.get(at)).status_code for at in ("/healthz", "/readyz", "/x")] == [200, 200, 404]
            assert "bursar_agent_generation 1.0" in (await client.get("/metrics")).text
        assert "another agent works" in await agent("plan", "-c", path, code=1)
        assert "another agent works" in await agent("run", "-c", path, code=1)
    finally:
        child.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(child.wait(), 20) == 0
    assert await agent("plan", "-c", path) == ""
    await stack.publish(cluster, {"aa": account("aa", allocation("shell-x", 20, 2), members=("ann", "bob"))})
    assert "ok   gateway" in await agent("doctor", "-c", path)
