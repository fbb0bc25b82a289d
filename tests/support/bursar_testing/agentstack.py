"""A gateway over TLS with a real ledger, and a test that plays the operator: what an agent needs around it."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI

from bursar_api.agents import router
from bursar_domain.enrolment import EnrolmentToken
from bursar_domain.keys import Signer, enrolment_mac, fingerprint
from bursar_domain.wire import AccountEntry, ClusterSettings
from bursar_ledger import Ledger
from bursar_testing.agentgateway import Server
from bursar_testing.wires import new_ledger

SECRET = "s" * 43


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "gateway")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "gateway.crt", folder / "gateway.key"
    paths[0].write_bytes(built.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


@dataclass
class Stack:
    """The gateway's address and authority, its ledger, the operator's key and the agents' keys."""

    ledger: Ledger
    folder: Path
    authority: Path
    key_file: Path
    signer: Signer = field(default_factory=Signer.generate)
    keys: dict[str, list[str]] = field(default_factory=dict)
    port: int = 0
    acknowledged: int = 0
    epoch: int = 1
    _server: Server | None = None
    _task: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Base URL."""
        return f"https://127.0.0.1:{self.port}"

    def token(self, cluster: str) -> str:
        """What `bursar clusters enrol` would print."""
        return str(EnrolmentToken(cluster, SECRET, fingerprint(self.signer.public_key)))

    async def serve(self) -> None:
        """Start, or start again on the same port."""
        app = FastAPI()
        app.include_router(router(self.ledger, self._found))
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            log_level="warning",
            timeout_graceful_shutdown=1,
            ssl_certfile=str(self.authority),
            ssl_keyfile=str(self.key_file),
        )
        self._server = Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]))

    async def stop(self) -> None:
        """The gateway goes away."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task

    def _found(self, cluster: str) -> Sequence[str]:
        return self.keys.get(cluster, ())

    async def decide(self) -> None:
        """Decide one enrolment as the operator does: by its MAC under the secret."""
        while not (pending := await self.ledger.pending_enrolments()):  # noqa: ASYNC110 - the ledger tells nobody
            await asyncio.sleep(0.02)
        for enrolment in pending:
            request = enrolment.request
            good = request.mac == enrolment_mac(SECRET, request.cluster, request.public_key)
            if good:
                self.keys.setdefault(request.cluster, []).append(request.public_key)
            await self.ledger.decide_enrolment(enrolment.id, good, "" if good else "the MAC does not hold")

    async def publish(self, settings: ClusterSettings, entries: Mapping[str, AccountEntry]) -> int:
        """Publish as the operator does; the generation."""
        published = await self.ledger.publish(
            settings,
            list(entries.values()),
            epoch=self.epoch,
            acknowledged=self.acknowledged,
            now=int(time.time()),
            valid_seconds=86_400,
            sign=self.signer.sign,
        )
        return published.generation


@contextlib.asynccontextmanager
async def running_stack(folder: Path) -> AsyncIterator[Stack]:
    """Serve while the block runs."""
    authority, key = certificate(folder)
    async with new_ledger() as ledger:
        stack = Stack(ledger, folder, authority, key)
        await stack.serve()
        try:
            yield stack
        finally:
            await stack.stop()
