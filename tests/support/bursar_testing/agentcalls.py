"""An agent's side of the protocol for tests: signs as an agent does, and every claim can be bent."""

import time
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from uuid import uuid4

import httpx
from joserfc import jwt
from joserfc.jwk import OctKey, OKPKey

from bursar_domain.keys import Signer
from bursar_domain.wire import AGENT_AUDIENCE

Claim = str | int | None
NOTHING: Mapping[str, Claim] = MappingProxyType({})


class AgentCaller:
    """Calls the agents' endpoints for one cluster."""

    def __init__(self, client: httpx.AsyncClient, cluster: str, *, session: str = "s1", signer: Signer | None = None) -> None:
        self.client = client
        self.cluster = cluster
        self.session = session
        self.signer = signer or Signer.generate()

    @property
    def key(self) -> str:
        """Public key, base64url."""
        return self.signer.public_key

    def token(
        self, method: str, target: str, body: bytes, bent: Mapping[str, Claim] = NOTHING, algorithm: str = "Ed25519"
    ) -> str:
        """A token for the request; a claim given as None is left out."""
        now = int(time.time())
        claims: dict[str, Claim] = {
            "iss": self.cluster,
            "aud": AGENT_AUDIENCE,
            "iat": now,
            "exp": now + 60,
            "jti": uuid4().hex,
            "sid": self.session,
            "bsh": sha256(body).hexdigest(),
            "req": f"{method} {target}",
        }
        left = {name: value for name, value in (claims | dict(bent)).items() if value is not None}
        if algorithm == "HS256":
            key = OctKey.import_key(self.key)
            return jwt.encode({"alg": algorithm}, left, key, algorithms=[algorithm])
        return jwt.encode({"alg": algorithm}, left, self._private(), algorithms=[algorithm])

    async def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
        bent: Mapping[str, Claim] = NOTHING,
    ) -> httpx.Response:
        """One request below the cluster's path, signed unless a token is given."""
        target = f"/agent/v1/clusters/{self.cluster}/{path}"
        signed = self.token(method, target, body, bent) if token is None else token
        sent = {"Authorization": f"Bearer {signed}", "Content-Type": "application/json"} | dict(headers or {})
        return await self.client.request(method, target, content=body or None, headers=sent)

    def _private(self) -> OKPKey:
        return OKPKey.import_key(self.signer.private)
