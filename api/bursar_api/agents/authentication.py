"""Who calls: each request is signed by the agent's own key over method, path and body, counts once and for a minute at most."""

import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry
from starlette.requests import Request

from bursar_api.agents.bodies import Body
from bursar_api.agents.problems import Refused, unauthenticated
from bursar_api.agents.replay import ReplayCache
from bursar_crds.names import CLUSTER
from bursar_domain.keys import b64decode
from bursar_domain.wire import AGENT_AUDIENCE

Keys = Callable[[str], Sequence[str]]
MAX_TOKEN_BYTES: Final = 4096
MAX_VALID_SECONDS: Final = 60
LEEWAY_SECONDS: Final = 30
MAX_KEYS: Final = 8
ALGORITHMS: Final = ("EdDSA", "Ed25519")  # the same signature; RFC 9864 gave it the second name
_IDENTIFIER: Final = re.compile(r"[\x21-\x7e]{1,253}")


@dataclass(frozen=True, slots=True)
class Caller:
    """The agent of a cluster, and which of its sessions."""

    cluster: str
    session: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says, checked for form only."""

    issuer: str
    audience: str
    issued_at: int
    expires: int
    identifier: str
    session: str
    body_hash: str
    request: str

    @classmethod
    def of(cls, claims: Mapping[str, object]) -> "Claims":
        """401 that names the first claim that is missing or of the wrong type."""
        return cls(
            _text(claims, "iss"),
            _text(claims, "aud"),
            _seconds(claims, "iat"),
            _seconds(claims, "exp"),
            _text(claims, "jti"),
            _text(claims, "sid"),
            _text(claims, "bsh"),
            _text(claims, "req", limit=2048),
        )


class _Registry(JWSRegistry):
    """Only Ed25519, under its old name too: that one is no weaker with a key of this curve, so there is nothing to warn of."""

    def get_alg(self, name: str):  # type: ignore[no-untyped-def] # the library's model is private
        return super().get_alg("Ed25519" if name in ALGORITHMS else name)


class Authenticator:
    """Checks signatures against the keys that the cluster has now: a key that was taken away stops working at once."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._registry = _Registry(algorithms=["Ed25519"])
        self._seen = ReplayCache()

    def claims(self, request: Request, cluster: str, now: float) -> Claims:
        """The claims of a token that a key of the cluster signed for this request; the body is still to be compared."""
        token = self._token(request)
        claims = Claims.of(self._verified(token, cluster))
        decide(claims, cluster, target(request), now)
        return claims

    def admit(self, claims: Claims, body: Body, now: float) -> Caller:
        """The caller, if the body is the one that was signed and the token was not used before."""
        compare(claims, body)
        if not self._seen.first(claims.issuer, claims.identifier, claims.expires + LEEWAY_SECONDS, now):
            raise unauthenticated("this token was used before; sign every request anew")
        return Caller(claims.issuer, claims.session)

    def _token(self, request: Request) -> str:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated("the request is not signed; send Authorization: Bearer with a token of the agent's key")
        if len(token) > MAX_TOKEN_BYTES:
            raise unauthenticated(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
        return token

    def _verified(self, token: str, cluster: str) -> Mapping[str, object]:
        found = self._keys(cluster)[:MAX_KEYS] if CLUSTER.fullmatch(cluster) else ()
        for text in found:
            try:
                return jwt.decode(token, _key(text), registry=self._registry).claims
            except (JoseError, ValueError):
                continue
        raise unauthenticated(
            f"no key of cluster {cluster[:64]!r} signed this token; enrol the agent again if its key was removed"
        )


def decide(claims: Claims, cluster: str, wanted: str, now: float) -> None:
    """401 unless the token is for this cluster, this audience, this request and this minute."""
    if claims.issuer != cluster:
        raise unauthenticated(f"the token is for cluster {claims.issuer[:64]!r}, the path for {cluster!r}")
    if claims.audience != AGENT_AUDIENCE:
        raise unauthenticated(f"the token's audience is not {AGENT_AUDIENCE}")
    if not 0 < claims.expires - claims.issued_at <= MAX_VALID_SECONDS:
        raise unauthenticated(f"a token holds for at most {MAX_VALID_SECONDS} s, and expires after it was issued")
    if claims.expires + LEEWAY_SECONDS <= now or claims.issued_at - LEEWAY_SECONDS > now:
        raise unauthenticated("the token is too old or not valid yet; compare the clock of this host with the answer's")
    if not hmac.compare_digest(claims.request.encode(), wanted.encode()):
        raise unauthenticated("the token was signed for another request")


def compare(claims: Claims, body: Body) -> None:
    """401 unless the body is the one whose hash was signed: as it went over the wire, or unpacked."""
    hashes = [sha256(body.sent).hexdigest(), sha256(body.content).hexdigest()]
    if not any(hmac.compare_digest(claims.body_hash.encode(), known.encode()) for known in hashes):
        raise unauthenticated("the token was signed for another body")


def target(request: Request) -> str:
    """`METHOD path?query` as it came."""
    query = request.url.query
    return f"{request.method} {request.url.path}{'?' + query if query else ''}"


def own(caller: Caller, session: str) -> None:
    """400 where a body speaks for another session than the one that signed it."""
    if session != caller.session:
        raise Refused(400, "the body's session is not the one that signed the request")


def _key(text: str) -> OKPKey:
    if len(b64decode(text)) != 32:
        raise ValueError("an Ed25519 key has 32 bytes")
    return OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "x": text})


def _text(claims: Mapping[str, object], name: str, limit: int = 253) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= limit or (name != "req" and not _IDENTIFIER.fullmatch(value)):
        raise unauthenticated(f"the token's claim {name!r} is missing or no text of up to {limit} characters")
    return value


def _seconds(claims: Mapping[str, object], name: str) -> int:
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise unauthenticated(f"the token's claim {name!r} is missing or no whole number of seconds")
    return value
