"""Who we are, by kubeconfig: certificate, token, exec plug-in whose token runs out."""

import sys
from pathlib import Path

import yaml

from bursar_kube.client import Kube
from bursar_kube.resources import SELFSUBJECTREVIEWS, SERVICEACCOUNTS
from bursar_local.controlplane import ControlPlane
from bursar_local.kubeconfigs import service_account_kubeconfig

PLUGIN = """
import json, pathlib, sys
calls = pathlib.Path(sys.argv[1])
number = len(calls.read_text()) if calls.exists() else 0
calls.write_text("x" * (number + 1))
status = {"token": pathlib.Path(sys.argv[2 + min(number, 1)]).read_text(), "expirationTimestamp": "2020-01-01T00:00:00Z"}
print(json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}))
"""


async def name_of(kube: Kube) -> str:
    answer = await kube.create(SELFSUBJECTREVIEWS, {})
    return str(answer["status"]["userInfo"]["username"])


async def account(kube: Kube, controlplane: ControlPlane, namespace: str, name: str, directory: Path) -> Path:
    await kube.create(SERVICEACCOUNTS, {"metadata": {"name": name, "namespace": namespace}})
    return await service_account_kubeconfig(controlplane.kubectl, directory / name, namespace, name, duration="1h")


async def test_a_certificate(kube: Kube) -> None:
    assert await name_of(kube) == "bursar-admin"


async def test_a_token(kube: Kube, controlplane: ControlPlane, namespace: str, tmp_path: Path) -> None:
    client = await Kube.connect(str(await account(kube, controlplane, namespace, "robot", tmp_path)))
    assert await name_of(client) == f"system:serviceaccount:{namespace}:robot"
    await client.close()


async def test_an_exec_plugin_is_asked_again_when_its_token_is_over(
    kube: Kube, controlplane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    script, calls = tmp_path / "plugin.py", tmp_path / "calls"
    script.write_text(PLUGIN)
    tokens = []
    for name in ("first", "second"):
        document = yaml.safe_load((await account(kube, controlplane, namespace, name, tmp_path)).read_text())
        tokens.append(tmp_path / f"{name}.token")
        tokens[-1].write_text(document["users"][0]["user"]["token"])
    arguments = [str(script), str(calls), *map(str, tokens)]
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable, "args": arguments}
    document["users"][0]["user"] = {"exec": plugin | {"interactiveMode": "Never"}}
    path = tmp_path / "exec.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    client = await Kube.connect(str(path))
    assert calls.read_text() == "x"
    assert await name_of(client) == f"system:serviceaccount:{namespace}:second"
    await client.close()
