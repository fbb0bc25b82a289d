"""Clients that create, raise, lower, delete and dry-run at random; each follows its own seed and its own allocations."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any, Final

from bursar_kube.client import Kube
from bursar_kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, KubeError, NotFound
from bursar_kube.resources import ALLOCATIONS
from bursar_testing.checker.objects import DRY_RUN_MARK
from bursar_testing.racing import field
from bursar_testing.racing.tally import Tally

Obj = dict[str, Any]
Key = tuple[str, str]
Work = Callable[[], Awaitable[str]]
MOST: Final = 6
"""Allocations of one client at one time, besides the one that it keeps."""
NAMES: Final = 9
"""So many names has a client for them: each comes again, as another object."""
LARGE: Final = 0.04
"""How often somebody asks for nearly all that a pool has."""
_FINAL: Final = {AlreadyExists: "taken", Conflict: "conflict", Forbidden: "refused", Invalid: "refused", NotFound: "gone"}


class Client:
    """One of them. `run` goes on until the tally says that enough was done."""

    def __init__(self, number: int, kube: Kube, seed: int, tally: Tally, pause_seconds: float) -> None:
        self._kube = kube
        self._random = Random(f"{seed}/{number}")
        self._number = number
        self._tally = tally
        self._pause = pause_seconds
        self._made = 0
        self._own: dict[Key, Mapping[str, int]] = {}
        self._kept: Key | None = None
        """An allocation that is deleted by dry runs alone, and so has to be there at the end."""

    async def run(self) -> None:
        """Do one thing after the other."""
        while self._tally.left > 0:
            await self._act()
            await asyncio.sleep(self._random.uniform(0, 2 * self._pause))

    async def check_kept(self) -> None:
        """What was deleted by dry runs alone is there."""
        if self._kept is None:
            return
        try:
            obj = await self._kube.get(ALLOCATIONS, self._kept[1], self._kept[0])
        except NotFound:
            obj = {"metadata": {"deletionTimestamp": "long ago"}}
        if "deletionTimestamp" in obj["metadata"]:
            self._tally.wrong.append(f"a dry run deleted {'/'.join(self._kept)}")

    async def _act(self) -> None:
        kind, work = self._choose()
        try:
            answer = await work()
        except KubeError as error:
            final = _FINAL.get(type(error))
            if final is None:
                self._tally.unsure[kind] += 1
                await asyncio.sleep(min(1.0, error.retry_after or 0.1))
                return
            answer = final
        self._tally.note(kind, answer)

    def _choose(self) -> tuple[str, Work]:
        if self._kept is None:
            return "create", self._create_kept
        kinds: dict[str, tuple[int, Work]] = {
            "create": (0 if len(self._own) >= MOST else 36, self._create),
            "raise": (16 if self._own else 0, lambda: self._change(up=True)),
            "lower": (14 if self._own else 0, lambda: self._change(up=False)),
            "delete": (20 if self._own else 0, self._delete),
            "dry create": (5, self._dry_create),
            "dry raise": (5, self._dry_change),
            "dry delete": (4, self._dry_delete),
        }
        (kind,) = self._random.choices(list(kinds), [weight for weight, _ in kinds.values()])
        return kind, kinds[kind][1]

    # what they do

    async def _create_kept(self) -> str:
        obj = self._wish(f"kept-{self._number}")
        obj["metadata"]["namespace"] = field.namespace(self._number % field.PROJECT_COUNT)
        try:
            return await self._store(obj)
        except AlreadyExists:  # the answer to the first attempt was lost
            return "taken"
        finally:
            self._kept = await self._if_stored(obj)

    async def _if_stored(self, obj: Obj) -> Key | None:
        name, namespace = obj["metadata"]["name"], obj["metadata"]["namespace"]
        try:
            await self._kube.get(ALLOCATIONS, name, namespace)
        except KubeError:
            return None
        return namespace, name

    async def _create(self) -> str:
        self._made += 1
        obj = self._wish(f"a-{self._number}-{self._made % NAMES}")
        key = obj["metadata"]["namespace"], obj["metadata"]["name"]
        self._own[key] = {item["name"]: item["hours"] for item in obj["spec"]["resources"]}
        try:
            return await self._store(obj)
        except (Forbidden, Invalid):
            del self._own[key]
            raise

    async def _store(self, obj: Obj) -> str:
        stored = await self._kube.create(ALLOCATIONS, obj)
        self._tally.accepted.add(stored["metadata"]["uid"])
        return "done"

    async def _change(self, *, up: bool) -> str:
        key = self._random.choice(list(self._own))
        hours = self._moved(self._own[key], up=up)
        try:
            if self._random.random() < 0.5:
                await self._kube.merge_patch(ALLOCATIONS, key[1], {"spec": {"resources": field.listed(hours)}}, key[0])
            else:
                await self._swap(key, hours)
        except NotFound:
            self._own.pop(key, None)
            raise
        self._own[key] = hours
        return "done"

    async def _swap(self, key: Key, hours: Mapping[str, int]) -> None:
        obj = await self._kube.get(ALLOCATIONS, key[1], key[0])
        obj["spec"]["resources"] = field.listed(hours)
        await self._kube.replace(ALLOCATIONS, obj)

    async def _delete(self) -> str:
        key = self._random.choice(list(self._own))
        try:
            await self._kube.delete(ALLOCATIONS, key[1], key[0])
        except NotFound:
            self._own.pop(key, None)
            raise
        self._own.pop(key, None)
        return "done"

    async def _dry_create(self) -> str:
        obj = self._wish(f"dry-{self._number}-{self._made}", labels={DRY_RUN_MARK: "yes"})
        await self._kube.create(ALLOCATIONS, obj, dry_run=True)
        return "done"

    async def _dry_change(self) -> str:
        key = self._random.choice([*self._own, self._kept or ("", "")])
        hours = self._moved(self._own.get(key, {"cpu": 10}), up=True)
        spec: Obj = {"resources": field.listed(hours)}
        patch: Obj = {"metadata": {"labels": {DRY_RUN_MARK: "yes"}}, "spec": spec}
        await self._kube.merge_patch(ALLOCATIONS, key[1], patch, key[0], dry_run=True)
        return "done"

    async def _dry_delete(self) -> str:
        namespace, name = self._kept or ("", "")
        await self._kube.delete(ALLOCATIONS, name, namespace, dry_run=True)
        return "done"

    # what they wish for

    def _wish(self, name: str, **metadata: Any) -> Obj:
        pool = self._random.choice(list(field.leaves()))
        names = field.RESOURCES if self._random.random() < 0.5 else field.RESOURCES[:1]
        share = 0.9 if self._random.random() < LARGE else self._random.uniform(0.005, 0.12)
        hours = {item: max(1, int(pool.hours[item] * share)) for item in names}
        named = pool.cluster == field.ENFORCED or self._random.random() < 0.5
        return field.allocation(self._random.randrange(field.PROJECT_COUNT), name, pool, hours, named=named, **metadata)

    def _moved(self, hours: Mapping[str, int], *, up: bool) -> dict[str, int]:
        factor = self._random.uniform(1.05, 2.0) if up else self._random.uniform(0.1, 0.95)
        return {name: max(1, int(amount * factor) + up) for name, amount in hours.items()}
