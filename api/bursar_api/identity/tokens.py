"""Checks people's tokens: fixed algorithms, exact issuer and audience, keys from the issuer's key set."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from bursar_api.errors import Unauthenticated, Unavailable

ALGORITHMS = ["RS256", "ES256"]
LEEWAY_SECONDS = 30
MAX_TOKEN_BYTES = 8192
FRESH_SECONDS = 300
STALE_SECONDS = 3600
REFETCH_SECONDS = 10
FIRST_REFETCH_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks: the name without prefix, groups, subject, and the token that is passed on."""

    name: str
    subject: str
    groups: tuple[str, ...]
    token: str
    expires: int


class KeySource:
    """The issuer's key set: cached 5 minutes, refetched once per 10 s for an unknown one, good for an hour alone."""

    def __init__(self, issuer: str, client: httpx.AsyncClient, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer, self._client, self._clock = issuer, client, clock
        self._keys: KeySet | None = None
        self._fetched = self._tried = float("-inf")
        self._turn = asyncio.Lock()

    async def keys(self, kid: str | None) -> KeySet:
        """The key set that should hold ``kid``."""
        now = self._clock()
        known = self._keys is not None and (kid is None or any(key.kid == kid for key in self._keys.keys))
        if not known or now - self._fetched > FRESH_SECONDS:
            await self._refetch(now)
        if self._keys is None or self._clock() - self._fetched > STALE_SECONDS:
            raise Unavailable(f"the keys of {self._issuer} can't be fetched; try again when the issuer is back", retry_after=5)
        return self._keys

    async def _refetch(self, now: float) -> None:
        async with self._turn:
            # Whoever came while another fetched has its answer, and a stranger's tokens cause one call per ten seconds.
            pause = REFETCH_SECONDS if self._keys is not None else FIRST_REFETCH_SECONDS
            if now - self._tried >= pause:
                self._tried = now
                await self._fetch()

    async def _fetch(self) -> None:
        try:
            found = await self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            self._keys = KeySet.import_key_set(await self._get(found["jwks_uri"]))
            self._fetched = self._clock()
        except (httpx.HTTPError, ValueError, KeyError, JoseError):
            return  # the old keys serve until they are an hour old

    async def _get(self, url: str) -> Any:
        response = await self._client.get(url, timeout=5)
        response.raise_for_status()
        return response.json()


class Verifier:
    """Turns a bearer token into a `Person`, or refuses with the reason."""

    def __init__(
        self, source: KeySource, *, issuer: str, audience: str, clients: Sequence[str], now: Callable[[], float] = time.time
    ) -> None:
        self._source, self._issuer, self._audience, self._clients, self._now = source, issuer, audience, clients, now

    async def verify(self, token: str) -> Person:
        """`Unauthenticated` for anything but a current access token of the issuer for this audience and client."""
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated(f"the token is longer than {MAX_TOKEN_BYTES} bytes")
        keys = await self._source.keys(_key_id(token))
        try:
            claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
        except (JoseError, ValueError) as error:
            raise Unauthenticated("the token's signature does not hold; log in again") from error
        self._check(claims)
        groups = claims.get("groups") or []
        return Person(
            name=str(claims["preferred_username"]),
            subject=str(claims["sub"]),
            groups=tuple(str(group) for group in groups) if isinstance(groups, list) else (),
            token=token,
            expires=int(claims["exp"]),
        )

    def _check(self, claims: dict[str, Any]) -> None:
        now = self._now()
        audiences = claims.get("aud")
        audiences = audiences if isinstance(audiences, list) else [audiences]
        times = [claims.get("exp"), claims.get("iat")]
        checks = [
            (claims.get("iss") == self._issuer, "was issued by someone else"),
            (self._audience in audiences, f"is not meant for {self._audience}"),
            (claims.get("azp") in self._clients, "belongs to a client that is not accepted here"),
            (claims.get("typ") == "Bearer", "is not an access token"),
            (all(isinstance(t, int) and not isinstance(t, bool) for t in times), "has no times"),
            (isinstance(claims.get("sub"), str) and claims.get("sub") != "", "has no subject"),
            (isinstance(claims.get("preferred_username"), str), "has no user name"),
        ]
        for holds, what in checks:
            if not holds:
                raise Unauthenticated(f"the token {what}; log in again")
        if claims["exp"] + LEEWAY_SECONDS < now:
            raise Unauthenticated("the token has expired; log in again")
        if claims["iat"] - LEEWAY_SECONDS > now:
            raise Unauthenticated("the token lies in the future; check the clocks")


def _key_id(token: str) -> str | None:
    """The `kid` of the header, which only selects among the issuer's keys; URLs in the header are never followed."""
    from joserfc.jws import extract_compact

    try:
        kid = extract_compact(token.encode()).headers().get("kid")
    except (JoseError, ValueError, UnicodeError) as error:
        raise Unauthenticated("this is not a token; send `Authorization: Bearer <token>`") from error
    return kid if isinstance(kid, str) else None
