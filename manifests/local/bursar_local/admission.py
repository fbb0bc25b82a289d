"""The webhook as the API server sees it: whether it is called, and that a foreign cluster keeps no trace of it."""

import asyncio
import json
import secrets
import time

import yaml

from bursar_local.errors import LocalStackError
from bursar_local.files import share
from bursar_local.kubectl import Kubectl

_NAME = "bursar"
_CALL_FAILED = "failed calling webhook"
_PAUSE_SECONDS = 0.25


async def refuse_installed(kubectl: Kubectl) -> None:
    """A cluster where Bursar is installed is not for a local stack, which would take its webhook away from it."""
    answer = await kubectl("get", "validatingwebhookconfigurations", "-o", "json")
    for item in json.loads(answer.stdout)["items"]:
        if item["metadata"]["name"] == _NAME and any("service" in webhook["clientConfig"] for webhook in item["webhooks"]):
            raise LocalStackError(
                f"Bursar is installed in the cluster of {kubectl.kubeconfig}: a local stack would work against it. "
                "Use another cluster, or unset KUBECONFIG to start one of your own"
            )


async def wait_until_called(kubectl: Kubectl, seconds: float) -> str:
    """Empty once the API server reaches the webhook; after `seconds` what it said instead.

    Asked by a dry run, whose own verdict does not matter: a refusal proves the call as well as a yes.
    """
    manifest = yaml.safe_load((share("examples") / "samples" / "cluster-minimal.yaml").read_text())
    manifest["metadata"]["name"] = f"probe-{secrets.token_hex(4)}"
    deadline = time.monotonic() + seconds
    while True:
        answer = await kubectl("create", "--dry-run=server", "--filename=-", input=json.dumps(manifest), check=False)
        if _CALL_FAILED not in answer.stderr:
            return ""
        if time.monotonic() > deadline:
            return answer.stderr.strip()
        await asyncio.sleep(_PAUSE_SECONDS)


async def remove(kubectl: Kubectl) -> None:
    """Take the webhook configuration out of the cluster: with nobody to answer, it would refuse every write. Idempotent."""
    arguments = ("--ignore-not-found", "--wait=false", "--request-timeout=10s")
    await kubectl("delete", "validatingwebhookconfiguration", _NAME, *arguments, check=False)
