"""Which call to an API server fails, and how: seeded chances, and only what an honest server or network could do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

import orjson


class Fault(StrEnum):
    """One way to fail. None of them tells of a success that did not happen."""

    TOO_MANY = "429 with Retry-After; the call had no effect"
    FAILING = "500 or 503; the call had no effect"
    CONFLICT = "409 for a compare-and-swap; it had no effect"
    LOST_BEFORE = "no answer, or 504, before the call took effect"
    LOST_AFTER = "no answer, or 504, after the call took effect"
    RESENT = "a middle box sent the write twice, and the second answer is given"
    RESET = "the connection is reset in the middle of the answer"
    SLOW = "the answer takes long"
    CUT = "a watch is cut, in the middle of a line where there is one"
    EXPIRED = "a watch that goes on from a version is told that the version is too old"
    LATE = "events of a watch arrive late"


OF_WATCHES: Final = frozenset({Fault.CUT, Fault.EXPIRED, Fault.LATE})
OF_BOTH: Final = frozenset({Fault.TOO_MANY, Fault.FAILING})
WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_ASIDE: Final = re.compile(r"/leases(/|$)|/events(/|$)|/apis/(authorization|authentication)\.k8s\.io/|/token$")


@dataclass(frozen=True, slots=True)
class Call:
    """One call as it arrives. ``client`` is the name that its kubeconfig was written for."""

    client: str
    method: str
    path: str
    query: Mapping[str, str]
    agent: str = ""
    body: bytes = b""

    @property
    def is_watch(self) -> bool:
        """Whether the answer is a stream of events."""
        return self.query.get("watch") in ("true", "1")

    @property
    def is_dry(self) -> bool:
        """Whether it asks only what would happen."""
        return "dryRun" in self.query or (self.method == "DELETE" and b'"dryRun"' in self.body)

    @property
    def is_write(self) -> bool:
        """Whether it changes an object. Leases, events and questions about rights are left out."""
        return self.method in WRITES and not self.is_dry and _ASIDE.search(self.path) is None

    @property
    def swaps(self) -> bool:
        """Whether a conflict is an answer that it may get at any time."""
        return self.method == "PUT" and not self.is_dry and b'"resourceVersion"' in self.body


@dataclass
class Faults:
    """Chances (0 to 1) for the calls that all four patterns fit; may be changed at any time.

    The draw depends on the seed, on the call and on how many like it came before: not on what other clients do meanwhile.
    """

    chances: dict[Fault, float] = field(default_factory=dict)
    seed: int = 0
    methods: frozenset[str] | None = None
    path: str = ""
    agent: str = ""
    client: str = ""
    retry_after_seconds: int = 1
    silence_seconds: float = 0.3
    """How long a lost answer is waited for before the connection closes."""
    slow_seconds: float = 0.5
    late_seconds: float = 0.3
    life_seconds: float = 5.0
    """Longest life of a watch that is cut."""

    def concerns(self, call: Call) -> bool:
        """Whether these are the chances of this call."""
        fits = self.methods is None or call.method in self.methods
        patterns = ((self.path, call.path), (self.agent, call.agent))
        return fits and self.client in ("", call.client) and all(re.search(*pair) is not None for pair in patterns)

    def draw(self, call: Call, number: int) -> Random:
        """What everything about the `number`-th call of its like is drawn from."""
        return Random(f"{self.seed}/{call.client}/{call.method}/{call.path}/{number}")

    def choose(self, call: Call, draw: Random) -> Fault | None:
        """At most one fault for a call."""
        rest = draw.random()
        for fault, chance in self.chances.items():
            if _is_honest(fault, call):
                if rest < chance:
                    return fault
                rest -= chance
        return None


def _is_honest(fault: Fault, call: Call) -> bool:
    if call.is_watch:
        return fault in OF_BOTH or (fault in OF_WATCHES and (fault is not Fault.EXPIRED or _goes_on(call)))
    if fault is Fault.CONFLICT:
        return call.swaps
    return fault not in OF_WATCHES and (fault is not Fault.RESENT or call.is_write)


def _goes_on(call: Call) -> bool:
    return call.query.get("resourceVersion", "0") != "0"


def status(code: int, reason: str, message: str) -> bytes:
    """A refusal as Kubernetes words it."""
    document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return orjson.dumps(document | {"message": message, "reason": reason, "code": code})


EXPIRED_EVENT: Final = b'{"type":"ERROR","object":' + status(410, "Expired", "too old resource version") + b"}\n"
REFUSALS: Final[Mapping[int, bytes]] = {
    409: status(
        409, "Conflict", "Operation cannot be fulfilled: the object has been modified; please apply your changes again"
    ),
    429: status(429, "TooManyRequests", "Too many requests, please try again later."),
    500: status(500, "InternalError", "Internal error occurred: etcdserver: leader changed"),
    503: status(503, "ServiceUnavailable", "the server is currently unable to handle the request"),
    504: status(504, "Timeout", "Timeout: request did not complete within requested timeout"),
}
