"""The informer against the real API server, on good days and bad ones."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from bursar_kube.client import Events, Kube, Obj
from bursar_kube.errors import Gone, Invalid, Unavailable
from bursar_kube.informer import EventType, Informer
from bursar_kube.resources import CONFIGMAPS, MEMBERSHIPS, SECRETS, ResourceType
from bursar_testing.relay import Relay
from bursar_testing.waiting import eventually


class Recorder:
    """Keeps what subscribers are told."""

    def __init__(self) -> None:
        self.calls: list[tuple[EventType, str | None, str | None]] = []

    def __call__(self, kind: EventType, old: Obj | None, new: Obj | None) -> None:
        self.calls.append((kind, value(old), value(new)))


def value(obj: Obj | None) -> str | None:
    return None if obj is None else f"{obj['metadata']['name']}={obj['data']['v'] if 'data' in obj else obj['spec']['role']}"


async def put(kube: Kube, namespace: str, name: str, v: str) -> Obj:
    obj = {"metadata": {"name": name, "namespace": namespace, "labels": {"mine": "yes"}}, "data": {"v": v}}
    return await kube.apply(CONFIGMAPS, obj, field_manager="test")


async def join(kube: Kube, namespace: str, user: str, role: str) -> Obj:
    """A kind of ours: its watch cache begins later than version 1, which the core kinds' may not."""
    obj = {"metadata": {"name": user, "namespace": namespace}, "spec": {"user": user, "role": role}}
    return await kube.apply(MEMBERSHIPS, obj, field_manager="test")


def names(informer: Informer[Obj]) -> list[str]:
    return sorted(item["metadata"]["name"] for item in informer.items())


def mine(kube: Kube, namespace: str, **more: Any) -> Informer[Obj]:
    return Informer(kube, CONFIGMAPS, namespace, label_selector="mine=yes", **more)


async def test_follows_create_update_and_delete(kube: Kube, namespace: str) -> None:
    await put(kube, namespace, "a", "1")
    recorder = Recorder()
    informer = mine(kube, namespace)
    informer.subscribe(recorder)
    async with informer:
        assert informer.get(namespace, "a")
        await put(kube, namespace, "b", "1")
        changed = await put(kube, namespace, "b", "2")
        await kube.delete(CONFIGMAPS, "a", namespace)
        await eventually(lambda: len(recorder.calls) == 4, "four events")
        assert recorder.calls == [
            ("ADDED", None, "a=1"),
            ("ADDED", None, "b=1"),
            ("MODIFIED", "b=1", "b=2"),
            ("DELETED", "a=1", None),
        ]
        assert names(informer) == ["b"]
        assert informer.version(namespace, "b") == changed["metadata"]["resourceVersion"]
        held = informer.get(namespace, "b")
        assert held is not None
        assert "managedFields" not in held["metadata"]
        assert informer.last_event_age < 60


async def test_a_late_subscriber_hears_what_is_there(kube: Kube, namespace: str) -> None:
    await put(kube, namespace, "a", "1")
    async with mine(kube, namespace) as informer:
        recorder = Recorder()
        informer.subscribe(recorder)
        assert recorder.calls == [("ADDED", None, "a=1")]


async def test_a_failing_subscriber_does_not_stop_the_others(kube: Kube, namespace: str) -> None:
    def fail(kind: EventType, old: Obj | None, new: Obj | None) -> None:
        raise RuntimeError("on purpose")

    recorder = Recorder()
    informer = mine(kube, namespace)
    informer.subscribe(fail)
    informer.subscribe(recorder)
    async with informer:
        await put(kube, namespace, "a", "1")
        await eventually(lambda: recorder.calls == [("ADDED", None, "a=1")])


async def test_keeps_what_transform_makes_and_indices_follow(kube: Kube, namespace: str) -> None:
    informer = Informer(
        kube,
        CONFIGMAPS,
        namespace,
        label_selector="mine=yes",
        transform=lambda obj: (obj["metadata"]["name"], obj["data"]["v"]),
        indices={"value": lambda item: (item[1],)},
    )
    async with informer:
        await put(kube, namespace, "a", "x")
        await put(kube, namespace, "b", "x")
        await eventually(lambda: len(informer.by_index("value", "x")) == 2)
        await put(kube, namespace, "a", "y")
        await eventually(lambda: informer.by_index("value", "y"))
        await kube.delete(CONFIGMAPS, "b", namespace)
        await eventually(lambda: len(informer) == 1)
        assert informer.by_index("value", "x") == []
        assert informer.get(namespace, "a") == ("a", "y")


async def test_one_object_by_field(kube: Kube, namespace: str) -> None:
    for name in ("one", "other"):
        await kube.create(SECRETS, {"metadata": {"name": name, "namespace": namespace}})
    async with Informer(kube, SECRETS, namespace, field_selector="metadata.name=one") as informer:
        assert names(informer) == ["one"]


async def test_resumes_where_a_cut_watch_ended(kube: Kube, relayed: Kube, relay: Relay, namespace: str) -> None:
    recorder = Recorder()
    informer = mine(relayed, namespace)
    informer.subscribe(recorder)
    async with informer:
        await put(kube, namespace, "a", "1")
        await eventually(lambda: len(recorder.calls) == 1)
        relay.refuse()
        relay.cut()
        await put(kube, namespace, "b", "1")
        await kube.delete(CONFIGMAPS, "a", namespace)
        await eventually(lambda: informer.last_error is not None, "the outage is known")
        assert names(informer) == ["a"], "the copy keeps answering"
        relay.refuse(False)
        await eventually(lambda: names(informer) == ["b"])
        assert recorder.calls == [("ADDED", None, "a=1"), ("ADDED", None, "b=1"), ("DELETED", "a=1", None)]


async def test_notices_a_silent_watch(kube: Kube, relayed: Kube, relay: Relay, namespace: str) -> None:
    async with mine(relayed, namespace, silence_seconds=1.0) as informer:
        relay.freeze()
        await put(kube, namespace, "a", "1")
        await eventually(lambda: informer.last_error is not None, "silence is an error")
        relay.thaw()
        await eventually(lambda: names(informer) == ["a"])


async def test_goes_on_when_the_server_ends_the_watch(kube: Kube, namespace: str) -> None:
    watches = Counting(kube)
    async with mine(watches, namespace, watch_seconds=1) as informer:
        await eventually(lambda: len(watches.versions) >= 3, "watched again")
        await put(kube, namespace, "a", "1")
        await eventually(lambda: names(informer) == ["a"])
        assert watches.versions[0] is None
        assert None not in watches.versions[1:], "resumed, not begun anew"


@pytest.mark.parametrize("packed", [False, True])
async def test_begins_anew_when_its_version_is_too_old(kube: Kube, namespace: str, packed: bool) -> None:
    await join(kube, namespace, "a", "Member")
    await join(kube, namespace, "b", "Member")
    forgetful = Forgetful(kube, namespace)
    recorder = Recorder()
    informer = Informer(forgetful, MEMBERSHIPS, namespace, packed=packed, watch_seconds=1)
    informer.subscribe(recorder)
    async with informer:
        await eventually(lambda: names(informer) == ["b", "c"])
        await eventually(lambda: len(recorder.calls) == 5)
        assert forgetful.versions[1] == "1"
        assert forgetful.versions[2] is None
        assert sorted(recorder.calls[2:]) == [
            ("ADDED", None, "c=Member"),
            ("DELETED", "a=Member", None),
            ("MODIFIED", "b=Member", "b=Viewer"),
        ]


async def test_copies_that_are_never_whole_leave_the_one_in_use_as_old_as_it_is(kube: Kube, namespace: str) -> None:
    await put(kube, namespace, "a", "1")
    cut = Cut(kube)
    async with mine(cut, namespace, watch_seconds=1) as informer:
        await eventually(lambda: cut.after_gone == 1, "its version is too old")
        await put(kube, namespace, "b", "1")
        heard = informer._last_heard()
        await eventually(lambda: cut.after_gone >= 4, "copies were begun")
        assert (names(informer), informer._last_heard()) == (["a"], heard)


async def test_a_watch_that_is_cut_as_it_is_taken_up_brings_nothing(kube: Kube, namespace: str) -> None:
    cut = Cut(kube, at_once=True)
    async with mine(cut, namespace, watch_seconds=1) as informer:
        await eventually(lambda: len(cut.versions) == 2, "taken up once")
        heard = informer._last_heard()
        await eventually(lambda: len(cut.versions) >= 5, "taken up again and again")
        assert None not in cut.versions[1:]
        assert informer._last_heard() == heard


async def test_a_quiet_watch_that_was_taken_up_counts(kube: Kube, relayed: Kube, relay: Relay, namespace: str) -> None:
    async with mine(relayed, namespace) as informer:
        heard = informer._last_heard()
        relay.cut()
        await eventually(lambda: informer._last_heard() > heard, "it goes on, and nothing has happened")
        assert len(informer) == 0


async def test_reads_pages_where_the_server_streams_no_lists(kube: Kube, namespace: str) -> None:
    await put(kube, namespace, "a", "1")
    old = Unstreaming(kube)
    async with mine(old, namespace) as informer:
        assert names(informer) == ["a"]
        await put(kube, namespace, "b", "1")
        await eventually(lambda: names(informer) == ["a", "b"])
        assert old.versions[0] is None
        assert None not in old.versions[1:]


async def test_synced_waits_only_so_long(relayed: Kube, relay: Relay, namespace: str) -> None:
    relay.refuse()
    informer = mine(relayed, namespace)
    await informer.start()
    with pytest.raises(TimeoutError):
        await informer.synced(timeout=0.2)
    assert not informer.is_synced
    await informer.stop()


class Counting(Kube):
    """The real client, keeping the version of each watch."""

    def __init__(self, kube: Kube) -> None:
        super().__init__(kube._connection, kube._transport, kube._bare, kube._credentials, owner=False)
        self.versions: list[str | None] = []

    async def watch(self, rt: ResourceType, namespace: str | None = None, **options: Any) -> AsyncGenerator[Events, None]:
        self.versions.append(options["resource_version"])
        async for batch in super().watch(rt, namespace, **options):
            yield batch


class Forgetful(Counting):
    """Asks for a version that the real server has forgotten, after everything has changed."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        super().__init__(kube)
        self._namespace = namespace

    async def watch(self, rt: ResourceType, namespace: str | None = None, **options: Any) -> AsyncGenerator[Events, None]:
        if len(self.versions) == 1:
            await self.delete(MEMBERSHIPS, "a", self._namespace)
            await join(self, self._namespace, "b", "Viewer")
            await join(self, self._namespace, "c", "Member")
            options["resource_version"] = "1"
        async for batch in super().watch(rt, namespace, **options):
            yield batch


class Cut(Counting):
    """Loses every watch after the first: as it is taken up, or once its version is too old, as new copies are under way."""

    def __init__(self, kube: Kube, *, at_once: bool = False) -> None:
        super().__init__(kube)
        self.after_gone = 0
        self._at_once = at_once

    async def watch(self, rt: ResourceType, namespace: str | None = None, **options: Any) -> AsyncGenerator[Events, None]:
        is_first = not self.versions
        async with aclosing(super().watch(rt, namespace, **options)) as stream:
            async for batch in stream:
                if not is_first and options["resource_version"] is not None and not self._at_once:
                    self.after_gone = 1
                    raise Gone("too old resource version", status=410)
                self.after_gone += bool(self.after_gone and not batch)
                yield [event for event in batch if is_first or event[0] != "BOOKMARK"]
                if not is_first and (batch or self._at_once):
                    raise Unavailable("the connection was cut", reason="Unavailable")


class Unstreaming(Counting):
    """Refuses a streamed list, as an API server without WatchList does."""

    async def watch(self, rt: ResourceType, namespace: str | None = None, **options: Any) -> AsyncGenerator[Events, None]:
        if options["resource_version"] is None:
            self.versions.append(None)
            raise Invalid("sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled", status=422)
        async for batch in super().watch(rt, namespace, **options):
            yield batch


def by_value(obj: Obj) -> list[str]:
    return [obj["data"]["v"]]


async def test_packed_objects_come_back_whole_and_fresh(kube: Kube, namespace: str) -> None:
    for name, v in (("a", "1a"), ("b", "1b"), ("c", "2c"), ("d", "ä" * 5_000)):
        await put(kube, namespace, name, v)
    recorder = Recorder()
    packed = mine(kube, namespace, packed=True, indices={"value": by_value})
    packed.subscribe(recorder)
    async with packed, mine(kube, namespace) as plain:
        assert sorted(map(str, packed.items())) == sorted(map(str, plain.items()))
        assert list(packed.each_by_index("value", "1b")) == [plain.get(namespace, "b")]
        found = packed.get(namespace, "a")
        assert found is not None
        found["data"]["v"] = "changed by whoever looked"
        assert packed.get(namespace, "a") == plain.get(namespace, "a")
        await put(kube, namespace, "b", "2")
        await kube.delete(CONFIGMAPS, "c", namespace)
        await eventually(lambda: recorder.calls[-1][0] == "DELETED", "the deletion")
        assert recorder.calls[-2:] == [("MODIFIED", "b=1b", "b=2"), ("DELETED", "c=2c", None)]
        assert packed.by_index("value", "1b") == packed.by_index("value", "2c") == []
        assert packed.keys_by_index("value", "2") == [(namespace, "b")]
        assert len(packed) == 3


async def test_what_is_held_back_is_read_but_told_later(kube: Kube, namespace: str) -> None:
    await put(kube, namespace, "a", "1")
    recorder = Recorder()
    informer = mine(kube, namespace, packed=True)
    informer.hold()
    await informer.start()
    with pytest.raises(TimeoutError):
        await informer.synced(1.0)
    informer.subscribe(recorder)
    assert (len(informer), recorder.calls) == (0, [])
    informer.release()
    await informer.synced(10.0)
    assert (len(informer), recorder.calls) == (1, [("ADDED", None, "a=1")])
    await put(kube, namespace, "a", "2")
    await eventually(lambda: recorder.calls[1:] == [("MODIFIED", "a=1", "a=2")])
    await informer.stop()
