"""The stock Kopf way, as the baseline: a create and a delete handler that write the status. Run by `kopf run`."""

from typing import Any

import kopf

GROUP, VERSION, PLURAL = "bursar.dev", "v1alpha1", "allocations"


@kopf.on.startup()  # type: ignore[arg-type,unused-ignore]
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """No peering, no events, as our own operator runs Kopf."""
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True


@kopf.on.create(GROUP, VERSION, PLURAL)  # type: ignore[arg-type,unused-ignore]
async def granted(spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    """Grant what is asked for."""
    patch.status["granted"] = list(spec["resources"])
    patch.status["charged"] = list(spec["resources"])


@kopf.on.delete(GROUP, VERSION, PLURAL)  # type: ignore[arg-type,unused-ignore]
async def released(**_: Any) -> None:
    """What makes Kopf add its finalizer."""
