"""What a person may see: Kubernetes RBAC decides, asked with the person's own token and remembered for a few seconds."""

import hashlib
import time
from collections.abc import Callable, Mapping

from bursar_api.identity.tokens import Person
from bursar_crds.names import GROUP
from bursar_kube.client import Kube

REMEMBERED_SECONDS = 5.0
MAX_REMEMBERED = 20_000
SELF_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

Key = tuple[str, ...]


class Access:
    """SelfSubjectAccessReview with a short memory. The gateway needs no right of its own for it."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube, self._clock = kube, clock
        self._answers: dict[Key, tuple[float, bool]] = {}

    async def may(
        self, person: Person, verb: str, plural: str, *, namespace: str = "", name: str = "", subresource: str = ""
    ) -> bool:
        """Whether the API server lets this person do it; `KubeError` where it can't be asked."""
        key = (hashlib.sha256(person.token.encode()).hexdigest(), verb, plural, namespace, name, subresource)
        now = self._clock()
        known = self._answers.get(key)
        if known is not None and now - known[0] < REMEMBERED_SECONDS:
            return known[1]
        allowed = await self._ask(
            person, {"verb": verb, "resource": plural, "subresource": subresource, "namespace": namespace, "name": name}
        )
        if len(self._answers) >= MAX_REMEMBERED:
            self._answers.clear()
        self._answers[key] = (now, allowed)
        return allowed

    async def _ask(self, person: Person, asked: Mapping[str, str]) -> bool:
        attributes = {"group": GROUP, **asked}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        answer = await self._kube.as_token(person.token).raw("POST", SELF_REVIEW, body)
        return bool(answer.get("status", {}).get("allowed"))
