"""The development issuer: a small OIDC provider on loopback that gateway and API server trust the way they trust a real one."""

import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import yaml
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from pydantic import BaseModel, ConfigDict, TypeAdapter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

TOKEN_SECONDS = 300
CLIENT = "bursar-cli"


class DevUser(BaseModel):
    """A development user: the groups of their tokens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DevIssuer:
    """Issues tokens for the users of one file to whoever knows the secret of another."""

    issuer: str
    audience: str
    key: ECKey
    secret: str
    users: Mapping[str, DevUser]

    @classmethod
    def load(cls, *, issuer: str, audience: str, secret_file: Path, users_file: Path) -> "DevIssuer":
        """Read users and secret; the signing key lies beside the secret and is made where it is missing."""
        users = TypeAdapter(dict[str, DevUser]).validate_python(yaml.safe_load(users_file.read_text()) or {})
        secret = secret_file.read_text().strip()
        if len(secret) < 32:
            raise ValueError(
                f"{secret_file}: the development secret is shorter than 32 characters; remove the file and start again"
            )
        return cls(issuer, audience, _key(secret_file.with_suffix(".jwk")), secret, users)

    def token(self, user: str, now: int) -> str:
        """An access token of five minutes."""
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "azp": CLIENT,
            "typ": "Bearer",
            "sub": f"dev-{user}",
            "preferred_username": user,
            "groups": list(self.users[user].groups),
            "iat": now,
            "exp": now + TOKEN_SECONDS,
            "jti": secrets.token_hex(16),
        }
        return jwt.encode({"alg": "ES256", "kid": self.key.kid}, claims, self.key)

    def app(self) -> Starlette:
        """Discovery, key set and token endpoint."""
        return Starlette(
            routes=[
                Route("/.well-known/openid-configuration", self._discovery),
                Route("/jwks", self._jwks),
                Route("/token", self._token, methods=["POST"]),
            ]
        )

    async def _discovery(self, _: Request) -> Response:
        return _json(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/jwks",
                "token_endpoint": f"{self.issuer}/token",
                "authorization_endpoint": f"{self.issuer}/authorize",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
                "grant_types_supported": ["password"],
            }
        )

    async def _jwks(self, _: Request) -> Response:
        return _json(KeySet([self.key]).as_dict(private=False))

    async def _token(self, request: Request) -> Response:
        form = await request.form()
        user, secret = str(form.get("username", "")), str(form.get("client_secret", ""))
        if form.get("grant_type") != "password" or form.get("client_id") != CLIENT:
            return _json({"error": "unsupported_grant_type"}, 400)
        if not hmac.compare_digest(secret.encode(), self.secret.encode()):
            return _json({"error": "invalid_client"}, 401)
        if user not in self.users:
            known = ", ".join(sorted(self.users))
            return _json(
                {"error": "invalid_grant", "error_description": f"no development user {user[:64]!r}; known: {known}"}, 400
            )
        token = self.token(user, int(time.time()))
        return _json({"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_SECONDS})


def _key(path: Path) -> ECKey:
    if path.exists():
        return ECKey.import_key(orjson.loads(path.read_bytes()))
    key = ECKey.generate_key("P-256", {"use": "sig", "alg": "ES256"}, auto_kid=True)
    path.touch(mode=0o600)
    path.write_bytes(orjson.dumps(key.as_dict(private=True)))
    return key


def _json(body: object, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store", "X-Bursar-Development-Issuer": "yes"}
    return Response(orjson.dumps(body), status_code=status, media_type="application/json", headers=headers)
