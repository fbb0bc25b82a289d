"""Who the agent is: its key, and the fingerprint of the key that signs what it obeys; both made at enrolment."""

from dataclasses import dataclass
from pathlib import Path

import orjson

from bursar_agent.files import DamagedFile, replace
from bursar_domain.keys import Signer

SEED_BYTES = 32


class NotEnrolled(Exception):
    """There is no key or no pinned fingerprint."""


@dataclass(frozen=True, slots=True)
class Identity:
    """The agent's key and what it pinned."""

    cluster: str
    signer: Signer
    fingerprint: str


def load_or_make_key(directory: Path) -> Signer:
    """The agent's key; a new one, readable by its owner alone, where there is none."""
    path = directory / "agent-key"
    if not path.exists():
        replace(path, Signer.generate().seed, mode=0o600)
    return Signer(_seed(path))


def _seed(path: Path) -> bytes:
    if path.stat().st_mode & 0o077:
        raise DamagedFile(f"{path}: others may read the agent's key; run chmod 600 on it, and enrol again if they did")
    seed = path.read_bytes()
    if len(seed) != SEED_BYTES:
        raise DamagedFile(f"{path}: not a key of {SEED_BYTES} bytes; remove it and enrol again")
    return seed


def pin(directory: Path, cluster: str, fingerprint: str) -> None:
    """Remember whose signature counts."""
    replace(directory / "pinned.json", orjson.dumps({"cluster": cluster, "fingerprint": fingerprint}))


def load(directory: Path, cluster: str) -> Identity:
    """The identity made at enrolment; NotEnrolled says how to get one."""
    remedy = "run `bursar-agent enrol` with a token from `bursar clusters enrol`"
    path = directory / "pinned.json"
    if not path.exists() or not (directory / "agent-key").exists():
        raise NotEnrolled(f"{directory}: this agent is not enrolled; {remedy}")
    try:
        pinned = orjson.loads(path.read_bytes())
        pinned_cluster, fingerprint = str(pinned["cluster"]), str(pinned["fingerprint"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise DamagedFile(f"{path}: not what was written; {remedy}") from error
    if pinned_cluster != cluster:
        raise NotEnrolled(f"{directory}: enrolled for cluster {pinned_cluster}, the settings say {cluster}; {remedy}")
    return Identity(cluster, load_or_make_key(directory), fingerprint)
