"""Each CEL rule and its Python twin agree, on examples that lie close to the rule, judged by the real API server (dry run).

The examples of a kind are drawn first and sent side by side, so that a few hundred of them take seconds.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bursar_crds.cluster import Billing
from bursar_crds.common import Model
from bursar_crds.definitions import object_schema
from bursar_crds.kinds import KINDS
from bursar_crds.reasons import Reason
from bursar_domain.validate import validate
from bursar_testing.rawapi import Api
from bursar_testing.samples import load_sample

Document = dict[str, Any]

EXAMPLES = 300
SENT_AT_ONCE = 16

TIMES = st.sampled_from(
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:15:00Z",
        "2026-01-01T00:20:00Z",
        "2026-01-01T00:15:01Z",
        "2026-01-01T01:00:00+01:00",
        "2026-01-01T01:07:00+01:07",
        "2026-01-01T05:45:00+05:45",
        "2027-12-31T23:45:00-11:00",
        "2027-12-31T23:59:59Z",
        "2028-02-29T12:30:00Z",
    ]
)
ODD_TIMES = st.sampled_from(
    [
        "2026-02-30T00:00:00Z",
        "2026-01-01",
        "2026-01-01T00:00:00.500Z",
        "2026-01-01T24:00:00Z",
        "1700-01-01T00:00:00Z",
        "now",
        "",
    ]
)
WORDS = st.sampled_from(
    ["root", "a", "ab", "a-", "-a", "Ab", "a,b", "a[1-3]", "x=1", "a b", "a" * 32, "a" * 33, "a1-b2", "ä", "_a"]
)
ACCOUNTS = st.one_of(WORDS, st.from_regex(r"[a-z][a-z0-9-]{0,34}", fullmatch=True), st.text("aZ09-_,[]=.", max_size=6))
OBJECT_NAMES = st.one_of(
    st.sampled_from(
        ["root", "a", "7", "a.b", "a-b", "1a", "ab1", "x" * 40, "x" * 41, "x" * 55, "x" * 56, "x" * 63, "x" * 64, "x" * 70]
    ),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,60}[a-z0-9])?", fullmatch=True),
)
NAMESPACES = st.sampled_from(["kube-system", "kube-x", "default", "bursar-system", "physics", "a.b", "n" * 63, "n" * 64])
REFERENCES = st.fixed_dictionaries(
    {"name": st.sampled_from(["probe", "a", "a.b", "-a", "a_b", "A", "x" * 40, "x" * 63, "x" * 64])}
)
LISTED = st.lists(st.sampled_from(["a", "b", "b", "A", "a.b"]), max_size=3)
RESOURCES = st.sampled_from(["cpu", "gpu", "memory"])
CALLED = st.one_of(RESOURCES, st.sampled_from(["", "CPU", "a_b", "gres/gpu", "c", "c" * 64]))
HOURS = st.sampled_from([-1, 0, 1, 1, 2, 2.0, 2.5, 100_000_000_000, 100_000_000_001])


def optional(strategy: st.SearchStrategy[Any], key: str) -> st.SearchStrategy[Document]:
    """`{key: …}`, or nothing."""
    return st.one_of(st.just({}), strategy.map(lambda value: {key: value}))


def merged(*parts: st.SearchStrategy[Document]) -> st.SearchStrategy[Document]:
    """One document of all parts."""
    return st.tuples(*parts).map(lambda found: {key: value for part in found for key, value in part.items()})


def periods(times: st.SearchStrategy[str] = TIMES) -> st.SearchStrategy[Document]:
    """Spans, upside down ones too."""
    return st.fixed_dictionaries({"start": times, "end": times})


def hours(minimum: int = 1) -> st.SearchStrategy[list[Document]]:
    """Lists of hours, sometimes with a name twice."""
    entry = st.fixed_dictionaries({"name": RESOURCES, "hours": st.sampled_from([1, 5, 100_000_000_000])})
    return st.lists(entry, min_size=minimum, max_size=3)


def oddly(number: str, numbers: st.SearchStrategy[float]) -> st.SearchStrategy[list[Document]]:
    """Lists of resources under odd names and with odd numbers."""
    return st.lists(st.fixed_dictionaries({"name": CALLED, number: numbers}), max_size=2)


def alone(
    kind: str, spec: st.SearchStrategy[Document], names: st.SearchStrategy[str] | None = None
) -> st.SearchStrategy[Document]:
    """Whole objects of a kind whose spec is the minimal sample's with `spec` over it."""
    base = load_sample(f"{kind.lower()}-minimal")

    def build(changes: Document, name: str) -> Document:
        document = copy.deepcopy(base)
        document["metadata"]["name"] = name
        document["spec"] = {key: value for key, value in (document["spec"] | changes).items() if value is not None}
        return document

    return st.builds(build, spec, names if names is not None else st.just("probe"))


THRESHOLDS = st.lists(
    merged(
        st.fixed_dictionaries(
            {
                "percent": st.sampled_from([0, 1, 80, 80, 100]),
                "basis": st.sampled_from(["Used", "Committed", "Projected"]),
                "action": st.sampled_from(["Notify", "Throttle", "SoftLand", "Hold", "Block"]),
            }
        ),
        optional(st.sampled_from([0, 1, 79, 80, 81]), "clearBelowPercent"),
    ),
    max_size=3,
)
TRANCHES = st.lists(
    merged(
        st.fixed_dictionaries({"percent": st.sampled_from([20, 50, 50, 50, 100])}),
        optional(TIMES, "from"),
        optional(st.just("report"), "gate"),
    ),
    min_size=1,
    max_size=3,
)

ACCESS = merged(
    st.fixed_dictionaries({"mode": st.sampled_from(["Open", "AllowList", "DenyList"])}), optional(LISTED, "projects")
)

CLUSTER_RESOURCES = st.lists(RESOURCES, min_size=1, max_size=3, unique=True).map(
    lambda names: [{"name": name, "capacity": 5} for name in names]
)
BILLING = st.fixed_dictionaries(
    {
        "version": st.sampled_from([0, 1, 2]),
        "scale": st.sampled_from([0, 1, 1000]),
        "weights": st.lists(
            st.fixed_dictionaries(
                {"name": st.one_of(RESOURCES, st.just("billing")), "weight": st.sampled_from([0, 1, 1, 2, 2.5])}
            ),
            max_size=3,
        ),
    }
)

KIND_EXAMPLES: dict[str, st.SearchStrategy[Document]] = {
    "Cluster": st.one_of(
        alone("Cluster", st.just({}), OBJECT_NAMES),
        alone("Cluster", st.fixed_dictionaries({"access": ACCESS})),
        alone("Cluster", st.fixed_dictionaries({"resources": oddly("capacity", HOURS)})),
        alone(
            "Cluster",
            st.fixed_dictionaries({"scheduler": merged(st.just({"type": "slurm"}), optional(ACCOUNTS, "rootAccount"))}),
        ),
        alone("Cluster", optional(ACCESS, "access"), OBJECT_NAMES),
        alone("Cluster", st.fixed_dictionaries({"resources": CLUSTER_RESOURCES, "billing": BILLING})),
    ),
    "Project": st.one_of(
        alone("Project", st.just({}), OBJECT_NAMES),
        alone("Project", optional(ACCOUNTS, "account"), OBJECT_NAMES),
        alone("Project", optional(NAMESPACES, "namespace")),
        alone("Project", st.fixed_dictionaries({"owner": st.one_of(WORDS, st.text("aZ09-_,[]=.", max_size=3))})),
        alone("Project", merged(optional(ACCOUNTS, "account"), optional(NAMESPACES, "namespace")), OBJECT_NAMES),
    ),
    "Membership": alone("Membership", merged(optional(WORDS, "user"), optional(st.one_of(TIMES, ODD_TIMES), "until"))),
    "QuotaPool": st.one_of(
        alone("QuotaPool", st.just({}), OBJECT_NAMES),
        alone("QuotaPool", merged(optional(REFERENCES, "parentRef"), optional(REFERENCES, "clusterRef"))),
        alone("QuotaPool", st.fixed_dictionaries({"period": periods()})),
        alone("QuotaPool", st.fixed_dictionaries({"resources": oddly("hours", HOURS)})),
        alone("QuotaPool", merged(st.fixed_dictionaries({"resources": hours()}), optional(hours(0), "perProject"))),
        alone("QuotaPool", merged(optional(LISTED, "projects"), optional(periods(), "period")), OBJECT_NAMES),
    ),
    "Allocation": st.one_of(
        alone("Allocation", merged(optional(periods(), "period"), st.fixed_dictionaries({"thresholds": THRESHOLDS}))),
        alone("Allocation", st.fixed_dictionaries({"thresholds": THRESHOLDS})),
        alone("Allocation", merged(st.fixed_dictionaries({"resources": hours()}), optional(hours(0), "perMember"))),
        alone("Allocation", merged(st.fixed_dictionaries({"tranches": TRANCHES}), optional(periods(), "period"))),
        alone("Allocation", st.fixed_dictionaries({"period": periods(st.one_of(TIMES, ODD_TIMES))})),
        alone("Allocation", st.fixed_dictionaries({"resources": oddly("hours", HOURS)})),
        alone("Allocation", st.fixed_dictionaries({"concurrency": oddly("count", HOURS)})),
        alone("Allocation", merged(optional(REFERENCES, "poolRef"), optional(REFERENCES, "clusterRef"))),
    ),
}

VALUES: dict[str, tuple[Any, ...]] = {
    "clusterRef": ({"name": "alpha"}, {"name": "beta"}),
    "poolRef": (None, {"name": "one"}, {"name": "two"}),
    "parentRef": (None, {"name": "one"}, {"name": "two"}),
    "requestedBy": (None, {"user": "alice"}, {"user": "alice", "uid": "1"}, {"user": "bob"}),
    "account": (None, "one", "two"),
    "namespace": (None, "one", "two"),
    "user": ("alice", "bob"),
    "recurrence": (None, {"every": "Month"}, {"every": "Month", "timeZone": "Europe/London"}, {"every": "Year"}),
}

ENDS = st.sampled_from(["2027-01-01T00:00:00Z", "2027-01-01T01:00:00+01:00", "2028-01-01T00:00:00Z"])
STARTS = st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00", "2026-01-01T00:15:00Z"])
GRACES = st.sampled_from([{}, {"overusePercent": 0}, {"overusePercent": 5}, {"afterEndDays": 5}])
LIVES = merged(
    st.fixed_dictionaries({"period": st.fixed_dictionaries({"start": STARTS, "end": ENDS}), "resources": hours()}),
    optional(st.just({"every": "Year"}), "recurrence"),
    optional(GRACES, "grace"),
    optional(st.sampled_from(["Absorb", "CarryDebt"]), "debt"),
    optional(st.integers(0, 3).map(lambda percent: {"percent": percent}), "carryOver"),
)


def spec_model(kind: str) -> type[Model]:
    """The model of a kind's spec."""
    model = KINDS[kind].model.model_fields["spec"].annotation
    assert isinstance(model, type)
    assert issubclass(model, Model)
    return model


FIXED = [(kind, item.at) for kind in sorted(KINDS) for item in spec_model(kind).transitions() if item.inner]


def drawn(strategy: st.SearchStrategy[Document], count: int) -> list[Document]:
    """Examples of the strategy, the same ones in every run."""
    found: list[Document] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def collect(document: Document) -> None:
        found.append(document)

    collect()
    return found


async def judged(documents: list[Document], send: Callable[[Document], Awaitable[httpx.Response]]) -> list[httpx.Response]:
    """The API server's answers, a bounded number of questions at a time."""
    gate = asyncio.Semaphore(SENT_AT_ONCE)

    async def one(document: Document) -> httpx.Response:
        async with gate:
            return await send(document)

    return await asyncio.gather(*(one(document) for document in documents))


def messages(schema: dict[str, Any]) -> Iterator[str]:
    """The messages of every rule below a schema."""
    yield from (entry["message"] for entry in schema.get("x-kubernetes-validations", ()))
    for child in [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]:
        yield from messages(child)


def refusals(answer: httpx.Response) -> list[str]:
    """What the API server says, one line per cause; nothing where it accepts."""
    if answer.status_code in (200, 201):
        return []
    body = answer.json()
    return [cause["message"] for cause in body.get("details", {}).get("causes", [])] or [body["message"]]


def rules_named(lines: list[str], known: set[str]) -> set[str]:
    """The rules whose message stands in the lines."""
    return {message for message in known if any(message in line for line in lines)}


def judged_by_model(document: Document) -> list[str]:
    """What the Python side says of one object by itself; what is not built yet is another matter."""
    return [item.message for item in validate(document) if item.reason != Reason.NOT_YET_SUPPORTED]


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_rules_agree_with_their_twins(api: Api, namespaces: None, kind: str) -> None:
    documents = drawn(KIND_EXAMPLES[kind], EXAMPLES)
    known = set(messages(object_schema(KINDS[kind])["properties"]["spec"])) | {
        rule.message for rule in KINDS[kind].model.rules()
    }
    fixed = {item.message for model in (spec_model(kind), Billing) for item in model.transitions()}
    answers = await judged(documents, lambda document: api.create(document, dry_run=True))
    seen: set[str] = set()
    for document, answer in zip(documents, answers, strict=True):
        theirs, ours = refusals(answer), judged_by_model(document)
        assert bool(theirs) == bool(ours), (document, theirs, ours)
        if all(rules_named([line], known) for line in theirs + ours):
            # Only rules speak here, no type and no bound, so both sides must name the same ones.
            assert rules_named(theirs, known) == rules_named(ours, known), (document, theirs, ours)
        seen |= rules_named(theirs, known)
    assert any(not refusals(answer) for answer in answers)
    assert known - fixed - seen == set()


@pytest.mark.parametrize(("kind", "field"), FIXED)
async def test_what_never_changes_agrees_with_its_twin(api: Api, namespaces: None, kind: str, field: str) -> None:
    for index, before in enumerate(VALUES[field]):
        old = with_value(kind, field, before, f"fixed-{field.lower()}-{index}")
        created = await api.create(old)
        assert created.status_code == 201, created.text
        stored = created.json()
        changed = [{**stored, "spec": with_value(kind, field, after, "x")["spec"]} for after in VALUES[field]]
        answers = await judged(changed, lambda document: api.replace(document, dry_run=True))
        await api.delete(old)
        for after, new, answer in zip(VALUES[field], changed, answers, strict=True):
            assert (answer.status_code == 200) == (after == before), (before, after, answer.text)
            ours = validate(new, stored)
            assert [(item.field, item.reason) for item in ours] == (
                [] if after == before else [(f"spec.{field}", Reason.IMMUTABLE)]
            )
            assert all(ours[0].message in line for line in refusals(answer))


async def test_changes_of_an_allocation_agree_with_their_twins(api: Api, namespaces: None) -> None:
    """Close neighbours of stored allocations: what was charged rests on much of the spec, so that much of it stays."""
    own = [item for item in spec_model("Allocation").transitions() if not item.inner]
    transitions = {item.message for item in own if item.at not in ("poolRef", "requestedBy")}
    seen: set[str] = set()
    for index, document in enumerate(item for item in drawn(alone("Allocation", LIVES), 60) if not validate(item)):
        document["metadata"]["name"] = f"change-{index}"
        created = await api.create(document)
        assert created.status_code == 201, created.text
        stored = created.json()
        others = [item for item in drawn(alone("Allocation", LIVES), 200)[index::15] if not validate(item)]
        changed = [{**stored, "spec": {**item["spec"], "clusterRef": stored["spec"]["clusterRef"]}} for item in others]
        answers = await judged(changed, lambda item: api.replace(item, dry_run=True))
        await api.delete(document)
        for new, answer in zip(changed, answers, strict=True):
            theirs, ours = refusals(answer), [item.message for item in validate(new, stored)]
            assert rules_named(theirs, set(ours)) == set(ours), (stored["spec"], new["spec"], theirs, ours)
            assert bool(theirs) == bool(ours), (stored["spec"], new["spec"], theirs, ours)
            seen |= rules_named(theirs, transitions)
    assert seen >= transitions


def with_value(kind: str, field: str, value: Any, name: str) -> Document:
    """The minimal sample under another name with the field set, or without it for None."""
    document = load_sample(f"{kind.lower()}-minimal")
    document["metadata"]["name"] = name
    document["spec"].pop(field, None)
    if value is not None:
        document["spec"][field] = value
    return document


def test_twins_are_not_asked_about_stored_objects() -> None:
    document = load_sample("allocation-minimal")
    document["spec"]["period"] = {"start": "2027-01-01T00:00:07Z", "end": "2026-01-01T00:00:00Z"}
    model = KINDS["Allocation"].model
    assert model.parse_stored(document).spec.period.start.second == 7
    with pytest.raises(ValidationError):
        model.parse(document)
