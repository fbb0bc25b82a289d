"""Writes kubeconfig files (0600): for a client certificate or a token, and for our parts' ServiceAccounts."""

import json
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from bursar_local.certificates import KeyPair
from bursar_local.errors import CommandFailed
from bursar_local.files import write_private
from bursar_local.kubectl import Kubectl


@dataclass(frozen=True)
class ClusterEntry:
    """Where an API server is, and what its certificate chains to (PEM text, None for the system's trust)."""

    url: str
    certificate_authority: str | None

    def as_mapping(self) -> dict[str, object]:
        """As a kubeconfig holds it."""
        if self.certificate_authority is None:
            return {"server": self.url}
        return {"server": self.url, "certificate-authority-data": _base64(self.certificate_authority.encode())}


def certificate_user(pair: KeyPair) -> dict[str, object]:
    """A user who shows a client certificate; the PEM files are copied in, so that the kubeconfig can be moved."""
    return {
        "client-certificate-data": _base64(pair.certificate.read_bytes()),
        "client-key-data": _base64(pair.key.read_bytes()),
    }


def token_user(token: str) -> dict[str, object]:
    """A user who shows a bearer token."""
    return {"token": token}


def write_kubeconfig(
    path: Path, cluster: ClusterEntry, user_name: str, user: Mapping[str, object], namespace: str | None = None
) -> Path:
    """Write a kubeconfig with one cluster, one user and one context, and return its path."""
    context: dict[str, object] = {"cluster": "bursar", "user": user_name}
    if namespace:
        context["namespace"] = namespace
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bursar", "cluster": cluster.as_mapping()}],
        "users": [{"name": user_name, "user": dict(user)}],
        "contexts": [{"name": "bursar", "context": context}],
        "current-context": "bursar",
    }
    return write_private(path, yaml.safe_dump(document, sort_keys=False))


async def cluster_entry(kubectl: Kubectl) -> ClusterEntry:
    """The cluster that `kubectl` talks to, read from its kubeconfig (any cluster, not only ours)."""
    answer = await kubectl("config", "view", "--minify", "--raw", "--flatten", "-o", "json")
    cluster = json.loads(answer.stdout)["clusters"][0]["cluster"]
    authority = cluster.get("certificate-authority-data")
    return ClusterEntry(str(cluster["server"]), _unbase64(authority) if authority else None)


async def service_account_kubeconfig(
    kubectl: Kubectl, path: Path, namespace: str, name: str, *, duration: str = "720h"
) -> Path:
    """A kubeconfig with a fresh token (TokenRequest) of ServiceAccount `namespace/name`, good for `duration`."""
    answer = await kubectl("create", "token", name, "--namespace", namespace, "--duration", duration)
    token = answer.stdout.strip()
    if not token:
        raise CommandFailed(["kubectl", "create", "token", name], 0, "it printed no token")
    return write_kubeconfig(path, await cluster_entry(kubectl), name, token_user(token), namespace)


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


def _unbase64(text: str) -> str:
    return b64decode(text).decode()
