"""Enrolment of agents: the gateway carries the request, the operator alone checks it, burns the token and trusts the key."""

import binascii
import hmac
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from bursar_crds import names
from bursar_crds.instants import format_instant, parse_instant
from bursar_domain import keys
from bursar_domain.enrolment import SECRET_PREFIX, EnrolRequest
from bursar_kube.client import Kube, Obj
from bursar_kube.errors import Conflict, NotFound
from bursar_kube.resources import CLUSTERS, SECRETS
from bursar_ledger.enrolments import Enrolments
from bursar_operator.metrics import Metrics

PER_PASS: Final = 50
MAX_KEYS: Final = 8
KEY_BYTES: Final = 32
AGAIN = "make a new token with `bursar clusters enrol {cluster}` and use it once"
LOG = structlog.get_logger("bursar.operator")


@dataclass(frozen=True, slots=True)
class Token:
    """What the Secret holds: the one-time secret and when it ends."""

    secret: str
    expires: datetime | None
    resource_version: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the key is to be trusted, and what the agent is told."""

    accepted: bool
    message: str
    outcome: str


def read_token(secret: Obj | None) -> Token | None:
    """The token in the Secret; None where there is none (or none that can be read)."""
    data = (secret or {}).get("data") or {}
    try:
        value = b64decode(data["secret"], validate=True).decode()
        expires = _instant(b64decode(data["expires"], validate=True).decode()) if "expires" in data else None
    except (KeyError, ValueError, OverflowError, OSError):  # whatever stands there, it is no token
        return None
    return Token(value, expires, (secret or {})["metadata"]["resourceVersion"]) if value else None


def _instant(text: str) -> datetime:
    return datetime.fromtimestamp(int(text), UTC) if text.isdecimal() else parse_instant(text)


def decide(request: EnrolRequest, token: Token | None, trusted: tuple[str, ...], now: datetime) -> Verdict:
    """What becomes of one request, from what is known."""
    again = AGAIN.format(cluster=request.cluster)
    if not _is_key(request.public_key):
        return Verdict(False, "the public key is not one of Ed25519 in base64url; update the agent", "bad-key")
    if request.public_key in trusted:
        return Verdict(True, f"the key is trusted for cluster {request.cluster}", "known")
    if token is None:
        return Verdict(False, f"the token was used already, or never made; {again}", "used")
    if token.expires is None or token.expires <= now:
        return Verdict(False, f"the token has expired; {again}", "expired")
    wanted = keys.enrolment_mac(token.secret, request.cluster, request.public_key)
    if not hmac.compare_digest(wanted.encode(), request.mac.encode()):
        return Verdict(False, f"the request was not made with the token of this cluster; {again}", "wrong-mac")
    if len(trusted) >= MAX_KEYS:
        return Verdict(False, f"cluster {request.cluster} trusts {MAX_KEYS} keys already; remove one first", "too-many")
    return Verdict(True, f"the key is trusted for cluster {request.cluster}", "accepted")


def _is_key(public_key: str) -> bool:
    try:
        return len(keys.b64decode(public_key)) == KEY_BYTES
    except (ValueError, binascii.Error):
        return False


class EnrolmentDesk:
    """Decides what waits; called whenever the ledger has news of an enrolment."""

    def __init__(self, kube: Kube, ledger: Enrolments, namespace: str, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._ledger = ledger
        self._namespace = namespace
        self._metrics = metrics
        self._now = now

    async def settle(self) -> bool:
        """Decide a bounded number of requests; True where more wait, so that a flood holds nothing else up."""
        waiting = list(await self._ledger.pending_enrolments())
        for item in waiting[:PER_PASS]:
            verdict = await self._judge(item.request)
            await self._ledger.decide_enrolment(item.id, verdict.accepted, verdict.message)
            self._report(item.request, verdict)
        return len(waiting) > PER_PASS

    async def _judge(self, request: EnrolRequest) -> Verdict:
        cluster = await self._cluster(request.cluster)
        if cluster is None:
            return Verdict(False, f"there is no cluster {request.cluster[:40]}; check the name in agent.yaml", "no-cluster")
        token = read_token(await self._secret(request.cluster))
        verdict = decide(request, token, trusted_keys(cluster), self._now())
        if verdict.outcome == "expired" and token is not None:
            await self._burn(request.cluster, token)
        if verdict.outcome != "accepted" or token is None:
            return verdict
        # Burn first: a crash in between costs a new token, the other order would let one token enrol two keys.
        if not await self._burn(request.cluster, token):
            return Verdict(False, f"the token was used already; {AGAIN.format(cluster=request.cluster)}", "used")
        await self._trust(request.cluster, request.public_key)
        return verdict

    async def _cluster(self, name: str) -> Obj | None:
        if not names.is_cluster(name):
            return None
        try:
            return await self._kube.get(CLUSTERS, name)
        except NotFound:
            return None

    async def _secret(self, cluster: str) -> Obj | None:
        try:
            return await self._kube.get(SECRETS, f"{SECRET_PREFIX}{cluster}", self._namespace)
        except NotFound:
            return None

    async def _burn(self, cluster: str, token: Token) -> bool:
        try:
            await self._kube.delete(
                SECRETS, f"{SECRET_PREFIX}{cluster}", self._namespace, resource_version=token.resource_version
            )
        except (NotFound, Conflict):
            return False
        return True

    async def _trust(self, name: str, public_key: str) -> None:
        for attempt in range(5):
            cluster = await self._kube.get(CLUSTERS, name)
            if public_key in trusted_keys(cluster):
                return
            try:
                await self._kube.replace_status(CLUSTERS, with_key(cluster, public_key, self._now()))
                return
            except Conflict:
                if attempt == 4:
                    raise

    def _report(self, request: EnrolRequest, verdict: Verdict) -> None:
        cluster = request.cluster if names.is_cluster(request.cluster) and verdict.outcome != "no-cluster" else ""
        self._metrics.enrolments.labels(cluster, verdict.outcome).inc()
        say = LOG.info if verdict.accepted else LOG.warning
        say("enrolment of an agent", cluster=cluster or "?", outcome=verdict.outcome, message=verdict.message)


def trusted_keys(cluster: Obj) -> tuple[str, ...]:
    """Keys that may speak for the cluster."""
    agent = (cluster.get("status") or {}).get("agent") or {}
    return tuple(item["key"] for item in agent.get("keys") or ())


def with_key(cluster: Obj, public_key: str, now: datetime) -> Obj:
    """The Cluster that trusts this key too."""
    status = dict(cluster.get("status") or {})
    agent = dict(status.get("agent") or {})
    agent["keys"] = [*(agent.get("keys") or ()), {"key": public_key, "enrolledAt": format_instant(now)}]
    return cluster | {"status": status | {"agent": agent}}
