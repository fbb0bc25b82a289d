"""The token check refuses everything but a current access token of the issuer, for this audience and client."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from bursar_api.errors import Unauthenticated, Unavailable
from bursar_api.identity.dev import DevIssuer
from bursar_api.identity.tokens import KeySource, Verifier

ISSUER = "https://127.0.0.1:9"


@pytest.fixture
def issuer(tmp_path: Path) -> DevIssuer:
    secret, users = tmp_path / "secret", tmp_path / "users.yaml"
    secret.write_text("s" * 40)
    users.write_text("alice: {groups: [bursar-reviewers]}\n")
    return DevIssuer.load(issuer=ISSUER, audience="bursar", secret_file=secret, users_file=users)


@pytest.fixture
async def client(issuer: DevIssuer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=issuer.app())) as client:
        yield client


def verifier(client: httpx.AsyncClient, clock: Callable[[], float] = time.monotonic) -> Verifier:
    return Verifier(KeySource(ISSUER, client, clock), issuer=ISSUER, audience="bursar", clients=("bursar-cli",))


def claims(**changed: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {"iss": ISSUER, "aud": "bursar", "azp": "bursar-cli", "typ": "Bearer", "sub": "dev-alice"}
    found = {**base, "preferred_username": "alice", "groups": ["g"], "iat": now, "exp": now + 300, **changed}
    return {key: value for key, value in found.items() if value is not None}


def signed(issuer: DevIssuer, **changed: Any) -> str:
    return jwt.encode({"alg": "ES256", "kid": issuer.key.kid}, claims(**changed), issuer.key)


async def test_a_token_of_the_development_issuer_holds(issuer: DevIssuer, client: httpx.AsyncClient) -> None:
    form = {"grant_type": "password", "client_id": "bursar-cli", "username": "alice", "client_secret": "s" * 40}
    answer = (await client.post(f"{ISSUER}/token", data=form)).json()
    person = await verifier(client).verify(answer["access_token"])
    assert (person.name, person.groups, person.subject) == ("alice", ("bursar-reviewers",), "dev-alice")


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"username": "mallory"}, 400),
        ({"client_secret": "guess"}, 401),
        ({"grant_type": "client_credentials"}, 400),
        ({"client_id": "x"}, 400),
    ],
)
async def test_the_development_issuer_refuses(client: httpx.AsyncClient, changed: dict[str, str], status: int) -> None:
    form = {"grant_type": "password", "client_id": "bursar-cli", "username": "alice", "client_secret": "s" * 40}
    answer = await client.post(f"{ISSUER}/token", data={**form, **changed})
    assert answer.status_code == status
    assert "access_token" not in answer.json()


NOW = int(time.time())


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://elsewhere"},
        {"iss": ISSUER + "/"},
        {"aud": "other"},
        {"aud": None},
        {"aud": ["other", "another"]},
        {"azp": "stranger"},
        {"azp": None},
        {"typ": "ID"},
        {"typ": "Refresh"},
        {"typ": None},
        pytest.param({"exp": NOW - 3600}, id="exp an hour ago"),
        {"exp": None},
        {"exp": "tomorrow"},
        {"exp": True},
        pytest.param({"iat": NOW + 3600}, id="iat in an hour"),
        {"iat": None},
        {"sub": ""},
        {"sub": None},
        {"preferred_username": None},
        {"preferred_username": 7},
    ],
    ids=str,
)
async def test_a_token_with_another_claim_is_refused(
    issuer: DevIssuer, client: httpx.AsyncClient, changed: dict[str, Any]
) -> None:
    with pytest.raises(Unauthenticated):
        await verifier(client).verify(signed(issuer, **changed))


async def test_a_forged_signature_is_refused(issuer: DevIssuer, client: httpx.AsyncClient) -> None:
    other = ECKey.generate_key("P-256")
    forged = [
        jwt.encode({"alg": "ES256", "kid": issuer.key.kid}, claims(), other),
        jwt.encode({"alg": "ES256"}, claims(), other),
        jwt.encode({"alg": "HS256", "kid": issuer.key.kid}, claims(), OctKey.import_key(b"k" * 64), algorithms=["HS256"]),
        jwt.encode({"alg": "RS256", "kid": "unknown"}, claims(), RSAKey.generate_key(2048)),
        "eyJhbGciOiJub25lIn0." + signed(issuer).split(".")[1] + ".",
        signed(issuer)[:-6] + "AAAAAA",
        "not a token",
        "a.b.c",
        "",
        "ü" * 20,
    ]
    for token in forged:
        with pytest.raises(Unauthenticated):
            await verifier(client).verify(token)


async def test_an_oversized_token_is_refused_before_it_is_parsed(issuer: DevIssuer, client: httpx.AsyncClient) -> None:
    with pytest.raises(Unauthenticated, match="longer than"):
        await verifier(client).verify(signed(issuer, filler="x" * 9000))


async def test_an_unknown_key_makes_one_request_per_ten_seconds(issuer: DevIssuer) -> None:
    calls: list[str] = []
    inner = httpx.ASGITransport(app=issuer.app())

    class Counting(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            calls.append(request.url.path)
            return await inner.handle_async_request(request)

    now = [100.0]
    async with httpx.AsyncClient(transport=Counting()) as client:
        checked = verifier(client, lambda: now[0])
        await checked.verify(signed(issuer))
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                await checked.verify(jwt.encode({"alg": "ES256", "kid": "new"}, claims(), ECKey.generate_key("P-256")))
        assert calls.count("/jwks") == 1
        now[0] += 11
        with pytest.raises(Unauthenticated):
            await checked.verify(jwt.encode({"alg": "ES256", "kid": "new"}, claims(), ECKey.generate_key("P-256")))
        assert calls.count("/jwks") == 2


async def test_the_keys_outlive_their_issuer_by_an_hour(issuer: DevIssuer) -> None:
    up, now = [True], [100.0]
    inner = httpx.ASGITransport(app=issuer.app())

    class Failing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if not up[0]:
                raise httpx.ConnectError("away", request=request)
            return await inner.handle_async_request(request)

    async with httpx.AsyncClient(transport=Failing()) as client:
        checked = verifier(client, lambda: now[0])
        await checked.verify(signed(issuer))
        up[0] = False
        now[0] += 3000
        assert (await checked.verify(signed(issuer))).name == "alice"
        now[0] += 1000
        with pytest.raises(Unavailable):
            await checked.verify(signed(issuer))


async def test_the_signing_key_survives_a_restart(issuer: DevIssuer, tmp_path: Path) -> None:
    again = DevIssuer.load(
        issuer=ISSUER, audience="bursar", secret_file=tmp_path / "secret", users_file=tmp_path / "users.yaml"
    )
    assert again.key.kid == issuer.key.kid
    assert (tmp_path / "secret.jwk").stat().st_mode & 0o077 == 0
