"""Enrolment: a one-time token from an administrator is exchanged for a key that was made here."""

import asyncio
from pathlib import Path

from bursar_agent import identity
from bursar_agent.client import Backoff, Gateway, GatewayAway
from bursar_domain.enrolment import EnrolmentToken, EnrolReply, EnrolRequest
from bursar_domain.keys import enrolment_mac


class EnrolmentRefused(Exception):
    """The operator, or the token itself, says no."""


async def enrol(gateway: Gateway, directory: Path, cluster: str, token: str, *, patience_seconds: float = 120) -> str:
    """Enrol; the public key. Nothing is pinned before the operator has accepted."""
    try:
        parsed = EnrolmentToken.parse(token)
    except ValueError as error:
        raise EnrolmentRefused(str(error)) from error
    if parsed.cluster != cluster:
        raise EnrolmentRefused(f"the token is for cluster {parsed.cluster}, the settings say {cluster}; use the right one")
    public_key = identity.load_or_make_key(directory).public_key
    request = EnrolRequest(cluster=cluster, public_key=public_key, mac=enrolment_mac(parsed.secret, cluster, public_key))
    try:
        reply = await asyncio.wait_for(_decided(gateway, request), patience_seconds)
    except TimeoutError as error:
        raise EnrolmentRefused("nobody decided in time; look whether the operator runs, then enrol again") from error
    if reply.state != "Accepted":
        raise EnrolmentRefused(f"refused: {reply.message or 'no reason was given'}; ask for a new token")
    identity.pin(directory, cluster, parsed.fingerprint)
    return public_key


async def _decided(gateway: Gateway, request: EnrolRequest) -> EnrolReply:
    reply, pause = await gateway.enrol(request), Backoff(first=0.1, longest=2)
    while reply.state == "Pending":
        await asyncio.sleep(pause.next())
        try:
            reply = await gateway.enrolment(reply.request)
        except GatewayAway:
            continue
    return reply
