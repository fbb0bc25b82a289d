"""Stock Kopf with peering, as the baseline of a take-over: a create handler that writes the status. Run by `kopf run`."""

from typing import Any

import kopf


@kopf.on.startup()  # type: ignore[arg-type,unused-ignore]
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """No events; peering, its times and all else as Kopf has them."""
    settings.posting.enabled = False
    settings.scanning.disabled = True


@kopf.on.create("bursar.dev", "v1alpha1", "allocations")  # type: ignore[arg-type,unused-ignore]
async def granted(spec: kopf.Spec, patch: kopf.Patch, **_: Any) -> None:
    """Grant what is asked for."""
    patch.status["granted"] = list(spec["resources"])
    patch.status["charged"] = list(spec["resources"])
