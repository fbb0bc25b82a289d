"""The API server's own store, read past every cache: each write of our kinds with its revision, and none left out."""

import ssl
from base64 import b64decode, b64encode
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson

from bursar_testing.checker.amounts import Json

PREFIX = "/registry/bursar.dev/"
END = "/registry/bursar.dev0"
"""The first key after them."""
LEASE = "/registry/leases/bursar-system/bursar-operator"


class Gap(Exception):
    """A write was missed."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write of one key; `value` is None where it was deleted."""

    key: str
    revision: int
    value: Json | None


@dataclass(frozen=True)
class Files:
    """What opens the store."""

    authority: Path
    certificate: Path
    key: Path


class Store:
    """A connection to etcd by its JSON gateway."""

    def __init__(self, url: str, files: Files) -> None:
        context = ssl.create_default_context(cafile=str(files.authority))
        context.load_cert_chain(str(files.certificate), str(files.key))
        timeout = httpx.Timeout(30, read=None)
        self._client = httpx.AsyncClient(base_url=url, verify=context, timeout=timeout, trust_env=False)
        self._seen: dict[str, int] = {}

    async def close(self) -> None:
        """Give the connections back."""
        await self._client.aclose()

    async def revision(self) -> int:
        """The revision that the store stands at; every write before this call is at or below it."""
        answer = await self._client.post("/v3/kv/range", json={"key": _encoded("\0")}, timeout=30)
        answer.raise_for_status()
        return int(answer.json()["header"]["revision"])

    async def is_caught_up(self) -> bool:
        """Whether `writes` has told every object that there is now, as it is now, and no other."""
        wanted = {"key": _encoded(PREFIX), "range_end": _encoded(END), "keys_only": True}
        answer = await self._client.post("/v3/kv/range", json=wanted, timeout=30)
        answer.raise_for_status()
        found = {_name(pair): int(pair["version"]) for pair in answer.json().get("kvs") or ()}
        return found == self._seen

    async def writes(self) -> AsyncGenerator[Write]:
        """Every write of our kinds from the first revision on; `Gap` where one is missing."""
        wanted = {"key": _encoded(PREFIX), "range_end": _encoded(END), "start_revision": "1"}
        async for event in self._events(wanted):
            yield self._write(event)

    async def renewals(self) -> AsyncGenerator[int]:
        """The revision of each write of the leader's Lease from now on."""
        async for event in self._events({"key": _encoded(LEASE)}):
            yield int(event["kv"]["mod_revision"])

    async def _events(self, wanted: Json) -> AsyncGenerator[Json]:
        async with self._client.stream("POST", "/v3/watch", json={"create_request": wanted}) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                result = orjson.loads(line).get("result") or {}
                if result.get("canceled") or int(result.get("compact_revision") or 0):
                    raise Gap(f"the store dropped the watch: {result.get('cancel_reason') or 'compacted'}")
                for event in result.get("events") or ():
                    yield event
        raise Gap("the store closed the watch")

    def _write(self, event: Json) -> Write:
        pair = event["kv"]
        key = _name(pair)
        revision = int(pair["mod_revision"])
        if event.get("type") == "DELETE":
            if self._seen.pop(key, None) is None:
                raise Gap(f"{key} was deleted at {revision} and never seen")
            return Write(key, revision, None)
        # The store counts the writes of a key, from 1 when it is made: whatever is left out shows here.
        number = int(pair["version"])
        if number != self._seen.get(key, 0) + 1:
            raise Gap(f"write {number} of {key} follows write {self._seen.get(key, 0)}")
        self._seen[key] = number
        return Write(key, revision, orjson.loads(b64decode(pair["value"])))


def _name(pair: Json) -> str:
    return b64decode(pair["key"]).decode().removeprefix(PREFIX)


def _encoded(text: str) -> str:
    return b64encode(text.encode()).decode()
