"""Enrolment: the token `bursar1.<cluster>.<secret>.<fingerprint of the operator's signing key>` (256 bit, one use, one hour),
and what agent and gateway say to each other about it."""

import re
from dataclasses import dataclass
from typing import Literal

from bursar_domain.wire import Name, Seconds, Wire

_TOKEN = re.compile(r"bursar1\.(?P<cluster>[a-z0-9-]{1,63})\.(?P<secret>[A-Za-z0-9_-]{43})\.(?P<fingerprint>[0-9a-f]{64})")
SECRET_PREFIX = "bursar-enrol-"  # noqa: S105 - the name of the Secret object, not a secret
SIGNING_CONFIGMAP = "bursar-signing-key"
VALID_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class EnrolmentToken:
    """What an admin carries from `bursar clusters enrol` to the agent's host."""

    cluster: str
    secret: str
    fingerprint: str

    def __str__(self) -> str:
        return f"bursar1.{self.cluster}.{self.secret}.{self.fingerprint}"

    @classmethod
    def parse(cls, text: str) -> "EnrolmentToken":
        """The token's parts; ValueError with what to do where it is not one."""
        match = _TOKEN.fullmatch(text.strip())
        if match is None:
            raise ValueError("this is not an enrolment token; make one with `bursar clusters enrol NAME` and copy it whole")
        return cls(match["cluster"], match["secret"], match["fingerprint"])


class EnrolRequest(Wire):
    """Public key (base64url, raw Ed25519) and HMAC-SHA256(token secret, cluster + newline + public key) in hex."""

    cluster: Name
    public_key: str
    mac: str


class EnrolReply(Wire):
    """State of an enrolment: the operator decides, the gateway only carries."""

    request: str
    state: Literal["Pending", "Accepted", "Refused"]
    message: str = ""
    clock: Seconds
