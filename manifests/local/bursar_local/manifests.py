"""Applies what the stack needs in the cluster besides the definitions: namespace, roles, policies, webhook configuration."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import yaml

from bursar_local.files import has_share, share
from bursar_local.kubectl import Kubectl
from bursar_local.parts import SYSTEM_NAMESPACE

# Server-side, so that fields of others (the operator's caBundle) survive a second `up`.
APPLY = ("apply", "--server-side", "--force-conflicts", "--field-manager=bursar-local")
_NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM_NAMESPACE}}


async def apply_manifests(kubectl: Kubectl, webhooks_url: str, *, development_groups: bool) -> None:
    """Namespace first, since the other files put objects into it; the webhook configuration last.

    `development_groups` binds the platform roles to groups of the development issuer: never in a cluster that is not ours.
    """
    await _apply(kubectl, _NAMESPACE)
    await kubectl(*APPLY, "--recursive", f"--filename={share('rbac')}")
    if has_share("policies"):
        await kubectl(*APPLY, "--recursive", f"--filename={share('policies')}")
    if development_groups:
        await kubectl(*APPLY, f"--filename={Path(__file__).with_name('dev-bindings.yaml')}")
    for document in webhook_documents(share("webhook"), f"{webhooks_url}/validate"):
        await _apply(kubectl, document)


def webhook_documents(folder: Path, url: str) -> list[dict[str, object]]:
    """The webhook configurations of `folder`, calling `url` instead of a Service (there is no Service network here)."""
    documents = [
        document for file in sorted(folder.glob("*.yaml")) for document in yaml.safe_load_all(file.read_text()) if document
    ]
    return [by_url(document, url) for document in documents if document["kind"].endswith("WebhookConfiguration")]


def by_url(document: Mapping[str, object], url: str) -> dict[str, object]:
    """The same webhook configuration with every `clientConfig` pointing to `url`."""
    webhooks = cast(list[dict[str, object]], document["webhooks"])
    return {**document, "webhooks": [{**webhook, "clientConfig": {"url": url}} for webhook in webhooks]}


async def _apply(kubectl: Kubectl, document: Mapping[str, object]) -> None:
    await kubectl(*APPLY, "--filename=-", input=json.dumps(document))
