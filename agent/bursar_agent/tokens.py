"""The token of one call: signed by the agent's key, bound to method, path and body, good for a minute."""

import hashlib
import secrets
from typing import Final

from joserfc import jwt
from joserfc.jwk import OKPKey

from bursar_agent.identity import Identity
from bursar_domain.keys import b64encode
from bursar_domain.wire import AGENT_AUDIENCE

ALGORITHM: Final = "Ed25519"  # EdDSA over this curve, by its name in RFC 9864
LIFETIME_SECONDS: Final = 60


class CallSigner:
    """Signs the calls of one session."""

    def __init__(self, identity: Identity, session: str) -> None:
        signer = identity.signer
        self._cluster, self._session = identity.cluster, session
        self._key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": signer.public_key, "d": b64encode(signer.seed)})

    def authorization(self, method: str, target: str, body: bytes, now: int) -> str:
        """Value of the header; ``target`` is path and query as they are sent, ``body`` as it is before compression."""
        claims = {
            "iss": self._cluster,
            "aud": AGENT_AUDIENCE,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
            "jti": secrets.token_urlsafe(16),
            "sid": self._session,
            "bsh": hashlib.sha256(body).hexdigest(),
            "req": f"{method} {target}",
        }
        token = jwt.encode({"alg": ALGORITHM, "typ": "JWT"}, claims, self._key, algorithms=[ALGORITHM])
        return f"Bearer {token}"
