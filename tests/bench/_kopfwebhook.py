"""Kopf's own webhook server with a trivial check of hours, as the baseline. Run by `kopf run`."""

import os
from typing import Any

import kopf


@kopf.on.startup()  # type: ignore[arg-type,unused-ignore]
async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """No peering, no events, the certificate of the benchmark; the configuration in the cluster stays as it is."""
    settings.peering.standalone = True
    settings.posting.enabled = False
    settings.scanning.disabled = True
    certificate, key, port = (os.environ[f"BENCH_{name}"] for name in ("CERTIFICATE", "KEY", "PORT"))
    settings.admission.server = kopf.WebhookServer(addr="127.0.0.1", port=int(port), certfile=certificate, pkeyfile=key)


@kopf.on.validate("bursar.dev", "v1alpha1", "allocations", id="validate")  # type: ignore[arg-type,unused-ignore]
async def small_enough(spec: kopf.Spec, **_: Any) -> None:
    """Refuse what is too much."""
    if any(item["hours"] > 1_000_000 for item in spec["resources"]):
        raise kopf.AdmissionError("too much", code=403)
