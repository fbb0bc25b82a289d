"""The whole local stack: up, watched, and down again, with every real part."""

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from bursar_local.build import ensure_binary
from bursar_local.controlplane import ControlPlane
from bursar_local.endpoints import Endpoints
from bursar_local.leftovers import start_time

PARTS = ["etcd", "kube-apiserver", "kube-controller-manager", "operator", "webhooks", "gateway"]
INSTALLED = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: bursar}
webhooks:
- name: validate.bursar.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {service: {name: bursar-webhooks, namespace: bursar-system}}
  rules: [{apiGroups: [bursar.dev], apiVersions: ["*"], operations: [CREATE], resources: [allocations]}]
"""
pytestmark = pytest.mark.controlplane


async def launch(*arguments: str, directory: Path) -> tuple[int, str]:
    """Run the launcher to its end: return code and what it said."""
    child = await start(*arguments, directory=directory)
    said, _ = await child.communicate()
    return child.returncode or 0, said.decode()


async def start(*arguments: str, directory: Path) -> asyncio.subprocess.Process:
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bursar_local", *arguments, "--dir", str(directory)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )


async def until(holds: Callable[[], bool], what: str, attempts: int = 600) -> None:
    for _ in range(attempts):
        if holds():
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"never happened: {what}")


def running(endpoints: Endpoints) -> list[str]:
    """Names of the parts whose process runs."""
    return [part.name for part in endpoints.parts if start_time(part.pid) is not None]


@pytest.fixture(scope="module")
async def directory(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """The directory of a stack; whatever a failing test leaves there is ended."""
    await asyncio.to_thread(ensure_binary)
    folder = tmp_path_factory.mktemp("stack")
    yield folder
    await launch("down", directory=folder)


@pytest.fixture
async def stack(directory: Path) -> Endpoints:
    """A stack that is up (it stays up from test to test unless one ends it)."""
    if not Endpoints.path(directory).exists():
        code, said = await launch("up", "--detach", directory=directory)
        assert code == 0, said
    return Endpoints.read(directory)


def client(endpoints: Endpoints) -> httpx.AsyncClient:
    context = ssl.create_default_context(cafile=str(endpoints.ca))
    return httpx.AsyncClient(verify=context, trust_env=False, timeout=10)


async def test_detached_it_returns_when_every_part_is_ready(stack: Endpoints) -> None:
    assert [part.name for part in stack.parts] == PARTS
    assert running(stack) == PARTS
    assert all(part.log.exists() for part in stack.parts)
    async with client(stack) as http:
        assert (await http.get(f"{stack.gateway}/readyz")).status_code == 200


async def test_endpoints_hold_a_working_kubectl_and_kubeconfig(stack: Endpoints) -> None:
    child = await asyncio.create_subprocess_exec(
        *stack.kubectl, "get", "bursar", "--all-namespaces", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    _, stderr = await child.communicate()
    assert child.returncode == 0, stderr.decode()
    assert f"--kubeconfig={stack.kubeconfig}" in stack.kubectl


async def test_a_development_user_is_known_to_the_api_server(stack: Endpoints) -> None:
    form = {"grant_type": "password", "client_id": "bursar-cli", "username": "alice"}
    secret = stack.dev_identity_secret.read_text()
    async with client(stack) as http:
        wrong = await http.post(f"{stack.issuer}/token", data={**form, "client_secret": "guess"})
        assert wrong.is_client_error
        answer = await http.post(f"{stack.issuer}/token", data={**form, "client_secret": secret})
        token = answer.json()["access_token"]
    child = await asyncio.create_subprocess_exec(
        *(stack.kubectl[0], "kubectl", f"--server={stack.apiserver}", "--insecure-skip-tls-verify", "--kubeconfig=/dev/null"),
        *(f"--token={token}", "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert (await child.communicate())[0] == b"oidc:alice"


async def test_no_other_user_of_the_machine_reads_the_directory(stack: Endpoints) -> None:
    assert stack.directory.stat().st_mode & 0o077 == 0
    secrets = [stack.kubeconfig, stack.dev_identity_secret, *(stack.directory / "kubeconfigs").iterdir()]
    assert [path for path in secrets if path.stat().st_mode & 0o077] == []


async def test_a_second_one_in_the_same_directory_is_refused_with_the_remedy(stack: Endpoints) -> None:
    code, said = await launch("up", "--detach", directory=stack.directory)
    assert code == 1
    assert f"bursar down --dir {stack.directory}" in said
    assert running(stack) == PARTS


async def test_a_killed_launcher_takes_its_parts_along_and_the_directory_starts_again(stack: Endpoints) -> None:
    os.kill(stack.supervisor, signal.SIGKILL)
    await until(lambda: running(stack) == [], "the parts ended")
    code, said = await launch("down", directory=stack.directory)
    assert code == 0, said
    code, said = await launch("up", "--detach", directory=stack.directory)
    assert code == 0, said
    again = Endpoints.read(stack.directory)
    assert (again.apiserver, again.gateway) == (stack.apiserver, stack.gateway)


async def test_down_ends_everything_and_may_be_called_again(stack: Endpoints) -> None:
    code, said = await launch("down", directory=stack.directory)
    assert (code, running(stack)) == (0, []), said
    assert not Endpoints.path(stack.directory).exists()
    assert start_time(stack.supervisor) is None
    code, said = await launch("down", directory=stack.directory)
    assert code == 0
    assert "Nothing runs" in said


async def test_a_part_that_dies_is_named_with_its_last_lines_and_all_ends(stack: Endpoints) -> None:
    victim = next(part for part in stack.parts if part.name == "operator")
    os.kill(victim.pid, signal.SIGKILL)
    await until(lambda: start_time(stack.supervisor) is None, "the launcher ended")
    assert running(stack) == []
    said = (stack.directory / "logs" / "supervisor.log").read_text()
    assert "operator ended with code -9" in said
    assert str(victim.log) in said
    last = victim.log.read_text().splitlines()[-1]
    assert last[:60] in said


async def test_in_a_terminal_ctrl_c_ends_it_all(directory: Path) -> None:
    await launch("down", directory=directory)
    launcher = await start("up", directory=directory)
    assert launcher.stdout is not None
    said = []
    while line := (await launcher.stdout.readline()).decode():
        said.append(line)
        if line.startswith("Everything is ready"):
            break
    await until(Endpoints.path(directory).exists, "the endpoints are written")
    endpoints = Endpoints.read(directory)
    assert running(endpoints) == PARTS, "".join(said)
    launcher.send_signal(signal.SIGINT)
    rest, _ = await launcher.communicate()
    assert launcher.returncode == 0, rest.decode()
    assert running(endpoints) == []


async def test_another_cluster_is_used_where_one_is_named_and_keeps_no_webhook(tmp_path: Path) -> None:
    plane = await ControlPlane.start(tmp_path / "cluster")
    try:
        folder = tmp_path / "stack"
        code, said = await launch("up", "--detach", "--kubeconfig", str(plane.kubeconfig), directory=folder)
        assert code == 0, said
        endpoints = Endpoints.read(folder)
        assert endpoints.apiserver == plane.url
        assert running(endpoints) == ["operator", "webhooks", "gateway"]
        assert not (folder / "controlplane" / "etcd").exists()
        called = await plane.kubectl("get", "validatingwebhookconfigurations", "-o", "name")
        assert called.stdout.strip().endswith("/bursar")
        code, said = await launch("down", directory=folder)
        assert (code, running(endpoints)) == (0, []), said
        left = await plane.kubectl("get", "validatingwebhookconfigurations", "-o", "name")
        assert left.stdout == ""
    finally:
        await plane.stop()


async def test_a_cluster_where_bursar_is_installed_is_left_alone(tmp_path: Path) -> None:
    plane = await ControlPlane.start(tmp_path / "cluster")
    try:
        await plane.kubectl("apply", "-f", "-", input=INSTALLED)
        code, said = await launch("up", "--detach", "--kubeconfig", str(plane.kubeconfig), directory=tmp_path / "stack")
        assert code == 1
        assert "Bursar is installed" in said
        untouched = await plane.kubectl("get", "validatingwebhookconfiguration", "bursar", "-o", "yaml")
        assert "service:" in untouched.stdout
        assert (await plane.kubectl("get", "namespace", "bursar-system", check=False)).return_code != 0
    finally:
        await plane.stop()
