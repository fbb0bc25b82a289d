"""The real API server without a client library between: what the resources' tests create, replace and read."""

import base64
import ssl
from pathlib import Path
from typing import Any

import httpx
import yaml

from bursar_crds import names
from bursar_crds.kinds import KINDS
from bursar_local.controlplane import ControlPlane


class Api:
    """The few calls of the API server that the tests make, without a client library between."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    def path(self, document: dict[str, Any], *, name: bool = False) -> str:
        """Where the object, or the list that it belongs to, lives."""
        info = KINDS[document["kind"]]
        where = f"/namespaces/{document['metadata']['namespace']}" if info.namespaced else ""
        tail = f"/{document['metadata']['name']}" if name else ""
        return f"/apis/{names.API_VERSION}{where}/{info.plural}{tail}"

    async def create(self, document: dict[str, Any], *, dry_run: bool = False) -> httpx.Response:
        """POST the object; unknown fields are refused as kubectl has them refused."""
        return await self._client.post(self.path(document), json=document, params=_params(dry_run))

    async def replace(self, document: dict[str, Any], *, dry_run: bool = False, subresource: str = "") -> httpx.Response:
        """PUT the object."""
        path = self.path(document, name=True) + (f"/{subresource}" if subresource else "")
        return await self._client.put(path, json=document, params=_params(dry_run))

    async def read(self, path: str) -> dict[str, Any]:
        """GET a path that must be there."""
        answer = await self._client.get(path)
        answer.raise_for_status()
        body: dict[str, Any] = answer.json()
        return body

    async def delete(self, document: dict[str, Any]) -> None:
        """DELETE the object; it may be gone already."""
        await self._client.delete(self.path(document, name=True))


def _params(dry_run: bool) -> dict[str, str]:
    return {"fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {})


def client_context(controlplane: ControlPlane, folder: Path) -> ssl.SSLContext:
    """TLS as the administrator of the control plane; key files that the kubeconfig holds inline go to `folder`."""
    user = yaml.safe_load(controlplane.kubeconfig.read_text())["users"][0]["user"]
    files = {}
    for key in ("client-certificate", "client-key"):
        files[key] = Path(user[key]) if key in user else folder / key
        if key not in user:
            files[key].write_bytes(base64.b64decode(user[f"{key}-data"]))
    context = ssl.create_default_context(cafile=str(controlplane.ca_file))
    context.load_cert_chain(files["client-certificate"], files["client-key"])
    return context
