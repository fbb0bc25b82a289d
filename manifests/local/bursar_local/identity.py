"""Waits until the API server accepts the development issuer's users: it looks for the issuer's keys only every ten seconds."""

import asyncio
import ssl
import time
from pathlib import Path

import httpx

from bursar_local.controlplane import ControlPlane
from bursar_local.errors import LocalStackError

_SECONDS = 60.0
_PAUSE_SECONDS = 0.25


async def wait_until_accepted(issuer: str, issuer_authority: Path, plane: ControlPlane, user: str, secret: str) -> None:
    """Return once a token of `user` passes at the API server; LocalStackError when it never does."""
    context = ssl.create_default_context(cafile=str(issuer_authority))
    context.load_verify_locations(cafile=str(plane.ca_file))
    async with httpx.AsyncClient(verify=context, timeout=5, trust_env=False) as client:
        token = await _token(client, issuer, user, secret)
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline:
            answer = await client.get(f"{plane.url}/apis", headers={"Authorization": f"Bearer {token}"})
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                return
            await asyncio.sleep(_PAUSE_SECONDS)
    raise LocalStackError(
        f"the API server did not accept tokens of {issuer} within {_SECONDS:.0f} s; see {plane.directory / 'logs'}"
    )


async def _token(client: httpx.AsyncClient, issuer: str, user: str, secret: str) -> str:
    form = {"grant_type": "password", "client_id": "bursar-cli", "username": user, "client_secret": secret}
    answer = await client.post(f"{issuer}/token", data=form)
    if not answer.is_success:
        raise LocalStackError(
            f"the development issuer {issuer} gave no token for {user}: {answer.status_code} {answer.text[:300]}"
        )
    return str(answer.json()["access_token"])
