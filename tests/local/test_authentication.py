"""The API server's structured authentication: people of one OIDC issuer, by access token only."""

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from bursar_local.authentication import AuthenticationIssuer
from bursar_local.certificates import Authority
from bursar_local.controlplane import ControlPlane
from bursar_local.kubeconfigs import cluster_entry, service_account_kubeconfig, token_user, write_kubeconfig


class Issuer:
    """A minimal OIDC provider on loopback: discovery, keys, and tokens with any claims."""

    def __init__(self, url: str, key: ECKey) -> None:
        self.url = url
        self._key = key

    def documents(self) -> dict[str, dict[str, object]]:
        return {
            "/.well-known/openid-configuration": {
                "issuer": self.url,
                "jwks_uri": f"{self.url}/jwks",
                "id_token_signing_alg_values_supported": ["ES256"],
            },
            "/jwks": {"keys": [self._key.as_dict(private=False)]},
        }

    def token(self, **claims: object) -> str:
        now = int(time.time())
        usual = {"iss": self.url, "aud": "bursar", "sub": "id-1", "typ": "Bearer", "iat": now, "exp": now + 300, "groups": []}
        return jwt.encode({"alg": "ES256", "kid": "k1"}, {**usual, **claims}, self._key)


@pytest.fixture(scope="module")
async def issuer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Issuer, Authority]]:
    authority = Authority.load_or_create(tmp_path_factory.mktemp("issuer"), "ca")
    pair = authority.issue_server("issuer")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    key = ECKey.generate_key("P-256", {"kid": "k1", "use": "sig", "alg": "ES256"})
    served: list[Issuer] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode()
        body = json.dumps(served[0].documents()[path]).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    served.append(Issuer(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", key))
    async with server:
        yield served[0], authority


@pytest.fixture(scope="module")
async def plane(issuer: tuple[Issuer, Authority], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    trusted = AuthenticationIssuer(issuer[0].url, issuer[1].certificate_file.read_text())
    plane = await ControlPlane.start(tmp_path_factory.mktemp("plane"), authentication=trusted)
    try:
        yield plane
    finally:
        await plane.stop()


async def whoami(plane: ControlPlane, path: Path, token: str) -> dict[str, object] | str:
    """Who the API server takes the bearer for; its refusal otherwise."""
    write_kubeconfig(path, await cluster_entry(plane.kubectl), "someone", token_user(token))
    kubectl = plane.kubectl.with_kubeconfig(path)
    for _ in range(100):
        answer = await kubectl("auth", "whoami", "-o", "json", check=False)
        if answer.return_code == 0:
            user: dict[str, object] = json.loads(answer.stdout)["status"]["userInfo"]
            return user
        # Discovery of the issuer's keys runs beside the start.
        if "not initialized" not in answer.stderr:
            return answer.stderr
        await asyncio.sleep(0.2)
    return "the issuer was never initialized"


@pytest.mark.controlplane
async def test_an_access_token_names_the_person(plane: ControlPlane, issuer: tuple[Issuer, Authority], tmp_path: Path) -> None:
    await _discovered(plane, issuer[0], tmp_path)
    token = issuer[0].token(preferred_username="alice", groups=["physics"])
    user = await whoami(plane, tmp_path / "alice", token)
    assert isinstance(user, dict)
    assert user["username"] == "oidc:alice"
    assert user["uid"] == "id-1"
    assert user["groups"] == ["oidc:physics", "system:authenticated"]


@pytest.mark.controlplane
@pytest.mark.parametrize(
    "claims",
    [
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"aud": "somebody-else"},
        {"exp": 1},
        {"preferred_username": "system:admin"},
        {"preferred_username": "service-account-robot"},
    ],
    ids=lambda claims: "-".join(f"{name}={value}" for name, value in claims.items()),
)
async def test_any_other_token_is_refused(
    plane: ControlPlane, issuer: tuple[Issuer, Authority], tmp_path: Path, claims: dict[str, object]
) -> None:
    await _discovered(plane, issuer[0], tmp_path)
    refused = await whoami(plane, tmp_path / "mallory", issuer[0].token(**{"preferred_username": "mallory", **claims}))
    assert isinstance(refused, str)
    assert "Unauthorized" in refused or "must be logged in" in refused


@pytest.mark.controlplane
async def test_a_part_gets_a_kubeconfig_of_its_own_service_account(plane: ControlPlane, tmp_path: Path) -> None:
    await plane.kubectl("create", "serviceaccount", "some-part", "--namespace=default")
    path = await service_account_kubeconfig(plane.kubectl, tmp_path / "part", "default", "some-part", duration="1h")
    assert path.stat().st_mode & 0o777 == 0o600
    answer = await plane.kubectl.with_kubeconfig(path)("auth", "whoami", "-o", "json")
    assert json.loads(answer.stdout)["status"]["userInfo"]["username"] == "system:serviceaccount:default:some-part"


async def _discovered(plane: ControlPlane, issuer: Issuer, tmp_path: Path) -> None:
    """Until the API server has the issuer's keys every token is refused, which would prove nothing."""
    for _ in range(150):
        if isinstance(await whoami(plane, tmp_path / "probe", issuer.token(preferred_username="probe")), dict):
            return
        await asyncio.sleep(0.2)
    pytest.fail("the API server never accepted a good token")
