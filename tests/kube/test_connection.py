"""Who we are, by kubeconfig: certificate, token, exec plug-in whose token runs out."""

import asyncio
import base64
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from bursar_kube.client import Kube
from bursar_kube.errors import NotConfigured
from bursar_kube.kubeconfig import read
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

LEAN = """
import asyncio, sys
from bursar_kube.client import Kube

async def main():
    kube = await Kube.connect(sys.argv[1])
    answer = await kube.raw("POST", sys.argv[2], {})
    await kube.close()
    print(answer["status"]["userInfo"]["username"], "kubernetes" in sys.modules)

asyncio.run(main())
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


async def test_plain_kubeconfigs_need_no_official_client(
    kube: Kube, controlplane: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    """It takes long to import: the operator starts without it."""
    path = await account(kube, controlplane, namespace, "lean", tmp_path)
    assert read(str(path), None) is not None
    for kubeconfig, expected in ((path, f"system:serviceaccount:{namespace}:lean"), (controlplane.kubeconfig, "bursar-admin")):
        command = [sys.executable, "-c", LEAN, str(kubeconfig), SELFSUBJECTREVIEWS.path()]
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await child.communicate()
        assert output.decode().split() == [expected, "False"]


async def test_files_beside_a_kubeconfig_are_found(kube: Kube, controlplane: ControlPlane, tmp_path: Path) -> None:
    document = yaml.safe_load(controlplane.kubeconfig.read_text())
    cluster, user = document["clusters"][0]["cluster"], document["users"][0]["user"]
    for fields, name in ((cluster, "certificate-authority"), (user, "client-certificate"), (user, "client-key")):
        data = fields.pop(f"{name}-data", None)
        content = base64.b64decode(data) if data else Path(fields[name]).read_bytes()
        (tmp_path / f"{name}.pem").write_bytes(content)
        fields[name] = f"{name}.pem"
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    client = await Kube.connect(str(path))
    assert await name_of(client) == "bursar-admin"
    await client.close()


@pytest.mark.parametrize("change", [{"exec": {}}, {"auth-provider": {}}, {"as": "somebody"}, {"tokenFile": "/token"}])
def test_the_official_client_reads_what_is_not_plain(
    controlplane: ControlPlane, tmp_path: Path, change: dict[str, Any]
) -> None:
    document = yaml.safe_load(controlplane.kubeconfig.read_text())
    document["users"][0]["user"] |= change
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    assert read(str(path), None) is None


@pytest.mark.parametrize(
    "text", ["", "no yaml: [", "contexts: []", "current-context: x\ncontexts: []\nclusters: []\nusers: []"]
)
async def test_a_bad_kubeconfig_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(NotConfigured, match=str(path)):
        await Kube.connect(str(path))
