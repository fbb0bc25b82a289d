"""The signing key: a seed in a file that only the operator reads, its public half in a ConfigMap that agents' admins read."""

import os
from pathlib import Path

from bursar_crds.names import FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL
from bursar_domain.enrolment import SIGNING_CONFIGMAP
from bursar_domain.keys import Signer, fingerprint
from bursar_kube.client import Kube
from bursar_kube.resources import CONFIGMAPS

SEED_BYTES = 32


class BadSigningKey(Exception):
    """A signing key file that cannot be used; the message says what to do with it."""


def load_or_create(path: Path) -> Signer:
    """The key of this file; a new one, readable by nobody else, where there is no file yet."""
    try:
        _create(path)
    except FileExistsError:
        pass
    except OSError as error:
        raise BadSigningKey(f"cannot make the signing key file {path}: {error.strerror}; mend the folder's rights") from error
    return _load(path)


def _create(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(Signer.generate().seed)
        file.flush()
        os.fsync(file.fileno())


def _load(path: Path) -> Signer:
    try:
        seed, mode = path.read_bytes(), path.stat().st_mode
    except OSError as error:
        raise BadSigningKey(f"cannot read the signing key file {path}: {error.strerror}; mend its rights") from error
    if len(seed) != SEED_BYTES:
        raise BadSigningKey(
            f"the signing key file {path} holds {len(seed)} bytes, not {SEED_BYTES}; restore it from the backup"
            " (a new key means that every agent has to be enrolled again)"
        )
    if mode & 0o077:
        raise BadSigningKey(f"others may read the signing key file {path}; run: chmod 600 {path}")
    return Signer(seed)


async def publish(kube: Kube, namespace: str, signer: Signer) -> None:
    """Show the public key and its fingerprint, which `bursar clusters enrol` puts into the token."""
    await kube.apply(
        CONFIGMAPS,
        {
            "apiVersion": CONFIGMAPS.api_version,
            "kind": CONFIGMAPS.kind,
            "metadata": {"name": SIGNING_CONFIGMAP, "namespace": namespace, "labels": {MANAGED_BY_LABEL: MANAGED_BY}},
            "data": {"fingerprint": fingerprint(signer.public_key), "publicKey": signer.public_key},
        },
        field_manager=FIELD_MANAGER,
        force=True,
    )
