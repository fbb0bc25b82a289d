"""Where the gateway is and who asks: from the environment, or from the `endpoints.json` of a local stack."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

DEFAULT_DIRECTORY = Path("build/local")
TIMEOUT_SECONDS = 15.0


class NotConnected(Exception):
    """There is no gateway to ask; the message says how to name one."""


@dataclass(frozen=True, slots=True)
class Connection:
    """Gateway address, CA, and either a token or a development user to get one for."""

    gateway: str
    ca: Path | None = None
    token: str | None = None
    issuer: str | None = None
    user: str | None = None
    secret_file: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Connection | None":
        """`BURSAR_GATEWAY`, `BURSAR_CA` and `BURSAR_TOKEN` or `BURSAR_TOKEN_FILE`; None without a gateway."""
        gateway = environment.get("BURSAR_GATEWAY")
        if not gateway:
            return None
        token, token_file = environment.get("BURSAR_TOKEN"), environment.get("BURSAR_TOKEN_FILE")
        if token is None and token_file:
            token = Path(token_file).read_text().strip()
        if not token:
            raise NotConnected("BURSAR_GATEWAY is set but there is no token: set BURSAR_TOKEN or BURSAR_TOKEN_FILE")
        ca = environment.get("BURSAR_CA")
        return cls(gateway.rstrip("/"), Path(ca) if ca else None, token)

    @classmethod
    def local(cls, directory: Path, user: str) -> "Connection":
        """The local stack in ``directory``, asked as one of its development users."""
        found = endpoints(directory)
        return cls(found["gateway"], Path(found["ca"]), None, found["issuer"], user, Path(found["devIdentitySecret"]))

    @classmethod
    def find(cls, directory: Path | None = None, user: str = "erin") -> "Connection":
        """The environment's gateway, else the local stack's."""
        if directory is None:
            found = cls.from_environment()
            if found is not None:
                return found
        return cls.local(directory or local_directory(), user)

    async def bearer(self) -> str:
        """A token to send; the development issuer's where there is no other."""
        if self.token is not None:
            return self.token
        if self.issuer is None or self.secret_file is None or self.user is None:
            raise NotConnected("there is neither a token nor a development issuer to get one from")
        form = {"grant_type": "password", "client_id": "bursar-cli", "username": self.user}
        form["client_secret"] = self.secret_file.read_text().strip()
        async with httpx.AsyncClient(verify=tls(self.ca), timeout=TIMEOUT_SECONDS) as client:
            answer = await client.post(f"{self.issuer}/token", data=form)
        body = answer.json()
        if answer.status_code != 200:
            raise NotConnected(
                f"the development issuer refused {self.user}: {body.get('error_description', body.get('error'))}"
            )
        return str(body["access_token"])


def tls(ca: Path | None) -> Any:
    """What httpx verifies with: the given CA, else the system's."""
    import ssl

    return ssl.create_default_context(cafile=str(ca) if ca else None)


def local_directory(environment: Mapping[str, str] = os.environ) -> Path:
    """`BURSAR_DIR`, else `build/local` below the current folder."""
    return Path(environment.get("BURSAR_DIR") or DEFAULT_DIRECTORY)


def endpoints(directory: Path) -> dict[str, Any]:
    """The local stack's addresses; `NotConnected` where none is up."""
    path = directory / "endpoints.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise NotConnected(
            f"no local stack in {directory}: start one with `bursar up`, name another with --dir, "
            "or set BURSAR_GATEWAY and BURSAR_TOKEN"
        ) from error
    except ValueError as error:
        raise NotConnected(f"{path} is damaged; `bursar down --dir {directory}` and `bursar up` make it anew") from error
    return found
