"""Histories by hand for the checker's own tests: a tree of pools and what is written to it, each write one revision later."""

import copy
from collections.abc import Mapping
from typing import Any

from bursar_testing.checker.history import History, parse

Obj = dict[str, Any]
Hours = Mapping[str, int]


def listed(hours: Hours) -> list[Obj]:
    """As statuses hold hours."""
    return [{"name": name, "hours": amount} for name, amount in sorted(hours.items())]


class Hand:
    """Writes lines. Each call that changes an object is one revision and one second later."""

    def __init__(self) -> None:
        self.lines: list[Obj] = []
        self.revision = 10
        self.now = 1000.0
        self.objects: dict[str, Obj] = {}

    def history(self) -> History:
        """What was written, parsed."""
        return parse(self.lines)

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds

    def renewals(self, number: int) -> None:
        """The leader renews its Lease, every two seconds."""
        for _ in range(number):
            self.now += 2
            self.lines.append({"kind": "lease", "at": self.now, "revision": self.revision})

    def pool(self, name: str, hours: int, parent: str | None = None, **spec: Any) -> None:
        """A counted pool that holds nothing."""
        given = {"clusterRef": {"name": "alpha"}, "resources": listed({"cpu": hours}), **spec}
        if parent:
            given["parentRef"] = {"name": parent}
        key = f"quotapools/{name}"
        self._put(key, {"metadata": {"name": name, "uid": f"pool-{name}"}, "spec": given})
        self.book(name, granted={}, spent={}, sequence=0, epoch=1, intents=[])

    def book(self, name: str, **fields: Any) -> None:
        """Write these fields of a pool's status."""
        hours = {field: listed(value) for field, value in fields.items() if field in ("granted", "spent")}
        self._status(f"quotapools/{name}", fields | hours)

    def opened(self, name: str, granted: int, number: int, uid: str, before: int, after: int, spend: int = 0) -> None:
        """A pool opens an operation."""
        intent = {"uid": uid, "namespace": "project-x", "name": uid, "id": number}
        intent |= {"from": listed({"cpu": before}), "to": listed({"cpu": after}), "spend": listed({"cpu": spend})}
        status = self.objects[f"quotapools/{name}"]["status"]
        self.book(
            name,
            granted={"cpu": granted},
            intents=[*status["intents"], intent],
            sequence=max(status["sequence"], number) if "parentRef" not in self._spec(name) else 0,
        )

    def closed(self, name: str, granted: int, uid: str, **fields: Any) -> None:
        """A pool drops an operation."""
        status = self.objects[f"quotapools/{name}"]["status"]
        left = [item for item in status["intents"] if item["uid"] != uid]
        self.book(name, **({"granted": {"cpu": granted}, "intents": left} | fields))

    def _spec(self, name: str) -> Obj:
        spec: Obj = self.objects[f"quotapools/{name}"]["spec"]
        return spec

    def allocation(self, uid: str, hours: int, leaf: str, **metadata: Any) -> None:
        """Somebody asks."""
        spec = {"clusterRef": {"name": "alpha"}, "poolRef": {"name": leaf}, "resources": listed({"cpu": hours})}
        made = {"name": uid, "namespace": "project-x", "uid": uid, "generation": 1} | metadata
        self._put(f"allocations/project-x/{uid}", {"metadata": made, "spec": spec})

    def asks(self, uid: str, hours: int) -> None:
        """Somebody asks for more or less."""
        obj = copy.deepcopy(self.objects[f"allocations/project-x/{uid}"])
        obj["spec"]["resources"] = listed({"cpu": hours})
        obj["metadata"]["generation"] += 1
        self._put(f"allocations/project-x/{uid}", obj)

    def deletes(self, uid: str) -> None:
        """Somebody deletes; the finalizer holds it."""
        obj = copy.deepcopy(self.objects[f"allocations/project-x/{uid}"])
        obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self._put(f"allocations/project-x/{uid}", obj)

    def granted(self, uid: str, granted: int, charged: int, revision: int, sequence: int, charge: int | None = None) -> None:
        """The operator writes an allocation's status."""
        key = f"allocations/project-x/{uid}"
        self._status(
            key,
            {
                "granted": listed({"cpu": granted}),
                "charged": listed({"cpu": charged}),
                "grantRevision": revision,
                "grantSequence": sequence,
                "chargeSequence": sequence if charge is None else charge,
                "pool": self.objects[key]["spec"]["poolRef"]["name"],
                "observedGeneration": self.objects[key]["metadata"]["generation"],
            },
        )

    def refused(self, uid: str, reason: str) -> None:
        """The operator says why not."""
        key = f"allocations/project-x/{uid}"
        condition = {"type": "Granted", "status": "False", "reason": reason}
        generation = self.objects[key]["metadata"]["generation"]
        self._status(key, {"conditions": [condition], "observedGeneration": generation})

    def goes(self, uid: str) -> None:
        """The finalizer is gone, and so is the object."""
        self._put(f"allocations/project-x/{uid}", None)

    def poll(self, **news: Any) -> None:
        """A look at the tables."""
        self.now += 0.1
        self.lines.append({"kind": "poll", "at": self.now, "low": self.revision, "high": self.revision, **news})

    def told(self, uid: str, hours: int, revision: int, *, acknowledged: bool = True) -> None:
        """The agent is told, and has done it."""
        told = {"uid": uid, "cluster": "alpha", "generation": revision, "revision": revision, "granted": {"cpu": hours}}
        self.poll(told=[told])
        if acknowledged:
            self.poll(acks=[[uid, revision]], agents=[["alpha", revision]])

    def _status(self, key: str, fields: Obj) -> None:
        obj = copy.deepcopy(self.objects[key])
        obj["status"] = {**(obj.get("status") or {}), **fields}
        self._put(key, obj)

    def _put(self, key: str, obj: Obj | None) -> None:
        self.revision += 1
        self.now += 1
        if obj is None:
            del self.objects[key]
        else:
            self.objects[key] = obj
        line = {"kind": "version", "at": self.now, "revision": self.revision, "key": key, "object": obj}
        self.lines.append(copy.deepcopy(line))


def tree() -> Hand:
    """A root of 100 hours over a leaf of 60."""
    hand = Hand()
    hand.pool("root", 100)
    hand.pool("leaf", 60, "root")
    return hand


def raised(hand: Hand, uid: str, before: int, after: int, number: int, held: int, revision: int) -> None:
    """A whole raise, told and acknowledged; `held`: what both pools held before."""
    total = held + after - before
    hand.opened("root", total, number, uid, before, after)
    hand.opened("leaf", total, number, uid, before, after)
    hand.granted(uid, after, after, revision, number)
    hand.told(uid, after, revision)
    hand.closed("leaf", total, uid)
    hand.closed("root", total, uid)


def lowered(hand: Hand, uid: str, before: int, after: int, number: int, held: int, revision: int) -> None:
    """A whole shrink: lowered, told, acknowledged, released."""
    hand.granted(uid, after, before, revision, number - 1)
    hand.told(uid, after, revision)
    for pool in ("root", "leaf"):
        hand.opened(pool, held, number, uid, before, after)
    hand.granted(uid, after, after, revision, number)
    for pool in ("leaf", "root"):
        hand.closed(pool, held - before + after, uid)
