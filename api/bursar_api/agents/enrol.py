"""Enrolment: carried to the operator as it came; nothing here can let anyone in."""

import re
from http import HTTPStatus
from typing import Final

from bursar_api.agents.problems import Refused
from bursar_crds.names import CLUSTER
from bursar_domain.enrolment import EnrolReply, EnrolRequest
from bursar_domain.keys import b64decode
from bursar_ledger import Enrolment

MAX_BODY_BYTES: Final = 4096
BURST: Final = 10
SECONDS_EACH: Final = 6.0
MAC: Final = re.compile(r"[0-9a-f]{64}")
IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_-]{32}")


def check(request: EnrolRequest) -> None:
    """422 where a part can't be what it says."""
    wrong = [name for name, fits in _parts(request).items() if not fits]
    if wrong:
        detail = f"{', '.join(wrong)}: not of the form that `bursar-agent enrol` sends; run it with the token as it was given"
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, detail, title="Invalid")


def _parts(request: EnrolRequest) -> dict[str, bool]:
    return {
        "cluster": CLUSTER.fullmatch(request.cluster) is not None,
        "publicKey": _is_key(request.public_key),
        "mac": MAC.fullmatch(request.mac) is not None,
    }


def _is_key(text: str) -> bool:
    try:
        return len(text) == 43 and len(b64decode(text)) == 32
    except ValueError:
        return False


def reply(enrolment: Enrolment, now: int) -> EnrolReply:
    """State of an enrolment."""
    return EnrolReply(request=enrolment.id, state=enrolment.state, message=enrolment.message, clock=now)
