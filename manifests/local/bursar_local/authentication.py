"""Structured authentication of the local API server: anonymous for health paths only, and at most one OIDC issuer."""

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

_HEALTH_PATHS = ("/livez", "/readyz", "/healthz")


@dataclass(frozen=True)
class AuthenticationIssuer:
    """An OIDC provider that the API server trusts: users `<prefix><preferred_username>`, groups `<prefix><group>`."""

    url: str
    certificate_authority: str
    """PEM text of what its TLS certificate must chain to."""
    audiences: tuple[str, ...] = ("bursar",)
    prefix: str = "oidc:"


def authentication_configuration(issuer: AuthenticationIssuer | None) -> str:
    """The YAML text of `--authentication-config`."""
    document: dict[str, object] = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": True, "conditions": [{"path": path} for path in _HEALTH_PATHS]},
        "jwt": [_jwt(issuer)] if issuer else [],
    }
    return yaml.safe_dump(document, sort_keys=False)


def _jwt(issuer: AuthenticationIssuer) -> Mapping[str, object]:
    return {
        "issuer": {
            "url": issuer.url,
            "audiences": list(issuer.audiences),
            "certificateAuthority": issuer.certificate_authority,
        },
        "claimMappings": {
            "username": {"claim": "preferred_username", "prefix": issuer.prefix},
            "groups": {"claim": "groups", "prefix": issuer.prefix},
            "uid": {"claim": "sub"},
        },
        # Keeps ID tokens and refresh tokens out: access tokens alone say Bearer.
        "claimValidationRules": [
            {
                "expression": "has(claims.typ) && claims.typ == 'Bearer'",
                "message": "only access tokens (typ Bearer) are accepted",
            }
        ],
        "userValidationRules": [
            {
                "expression": f"!user.username.startsWith('{issuer.prefix}{reserved}')",
                "message": f"user names that start with {reserved} are reserved",
            }
            for reserved in ("system:", "service-account-")
        ],
    }
