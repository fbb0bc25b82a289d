"""Billing of a Cluster: what may change of it, judged by the real API server and by the twin; what its parts must come to."""

import copy
import json
from itertools import product
from typing import Any

import pytest

from bursar_crds.allocation import Allocation
from bursar_crds.cluster import Billing, Cluster, ClusterSpec
from bursar_crds.reasons import Reason
from bursar_domain import references
from bursar_domain.billing import billing_of, scales_of
from bursar_domain.units import Scales
from bursar_domain.validate import validate
from bursar_domain.wire import ClusterSettings
from bursar_testing.rawapi import Api
from bursar_testing.samples import load_sample
from bursar_testing.wires import settings

Document = dict[str, Any]
CPU = {"name": "cpu", "weight": 1000}
GPU = {"name": "gpu", "weight": 32_000}
PLAIN = [{"name": "cpu", "capacity": 64}, {"name": "gpu", "capacity": 8}]
COUNTED = [*PLAIN, {"name": "billing", "capacity": 100_000_000}]


def billing(version: int, scale: int, *weights: Document) -> Document:
    """`spec.billing`."""
    return {"version": version, "scale": scale, "weights": list(weights)}


def cluster(name: str, resources: list[Document], found: Document | None) -> Document:
    """A Cluster with these resources and this billing."""
    document = load_sample("cluster-minimal")
    document["metadata"]["name"] = name
    document["spec"]["resources"] = copy.deepcopy(resources)
    document["spec"] |= {} if found is None else {"billing": copy.deepcopy(found)}
    return document


STATES: list[tuple[list[Document], Document | None]] = list(
    product(
        (PLAIN, COUNTED),
        (
            None,
            billing(1, 1, CPU),
            billing(2, 1, CPU),
            billing(2, 1000, CPU),
            billing(2, 1000, CPU, GPU),
            billing(2, 1000, GPU, CPU),
            billing(3, 1000, CPU | {"weight": 2000}),
        ),
    )
)
TRANSITIONS = {item.message: item for model in (ClusterSpec, Billing) for item in model.transitions()}


async def test_what_may_change_agrees_with_the_twins(api: Api) -> None:
    seen: set[str] = set()
    for index, (resources, found) in enumerate(STATES):
        document = cluster(f"billing-{index}", resources, found)
        created = await api.create(document)
        assert created.status_code == 201, created.text
        stored = created.json()
        for state in STATES:
            new = {**stored, "spec": cluster("x", *state)["spec"]}
            answer = await api.replace(new, dry_run=True)
            ours = {item.message for item in validate(new, stored)}
            theirs = {message for message in TRANSITIONS if message in answer.text}
            assert theirs == ours, (found, state, answer.text)
            assert (answer.status_code == 200) == (not ours), (found, state, answer.text)
            seen |= theirs
        await api.delete(document)
    assert seen == set(TRANSITIONS)


@pytest.mark.parametrize(
    ("before", "after", "fields"),
    [
        ((PLAIN, None), (COUNTED, billing(1, 1000, CPU)), []),
        ((COUNTED, None), (COUNTED, billing(1, 1, CPU)), []),
        ((COUNTED, None), (COUNTED, billing(1, 1000, CPU)), ["spec.billing"]),
        ((COUNTED, billing(1, 1000, CPU)), (COUNTED, None), ["spec.billing"]),
        ((PLAIN, billing(1, 1000, CPU)), (PLAIN, billing(1, 100, CPU)), ["spec.billing.scale"]),
        ((PLAIN, billing(1, 1000, CPU)), (PLAIN, billing(1, 1000, CPU, GPU)), ["spec.billing.version"]),
        ((PLAIN, billing(1, 1000, CPU)), (PLAIN, billing(2, 1000, CPU, GPU)), []),
        ((PLAIN, billing(2, 1000, CPU, GPU)), (PLAIN, billing(2, 1000, GPU, CPU)), []),
        ((PLAIN, billing(2, 1000, CPU)), (PLAIN, billing(1, 1000, CPU)), ["spec.billing.version"]),
    ],
)
def test_the_scale_stays_and_weights_have_versions(
    before: tuple[list[Document], Document | None], after: tuple[list[Document], Document | None], fields: list[str]
) -> None:
    found = validate(cluster("alpha", *after), cluster("alpha", *before))
    assert [item.field for item in found] == fields
    assert {item.reason for item in found} <= {Reason.IMMUTABLE}


@pytest.mark.parametrize(("capacity", "least"), [(319, 320), (320, None), (10**6, None)])
def test_a_full_machine_fits_the_capacity_of_billing(capacity: int, least: int | None) -> None:
    """64 CPUs at 1,000 and 8 GPUs at 32,000 billing units are 320,000."""
    resources = [*PLAIN, {"name": "billing", "capacity": capacity}]
    found = validate(cluster("alpha", resources, billing(1, 1000, CPU, GPU)))
    assert [item.field for item in found] == ([] if least is None else ["spec.resources[2].capacity"])
    assert least is None or f"set it to {least} at least" in found[0].message


def test_a_weight_is_of_a_resource_and_never_of_billing() -> None:
    for weights in ([CPU, {"name": "memory", "weight": 1}], [CPU, {"name": "billing", "weight": 1}]):
        found = validate(cluster("alpha", PLAIN, billing(1, 1, *weights)))
        assert {item.field for item in found} == {"spec.billing.weights"}


def test_an_allocation_holds_what_the_books_can() -> None:
    found = Cluster.parse(cluster("alpha", COUNTED, billing(1, 1_000_000, CPU)))
    most = Scales(1_000_000).most_hours("billing")
    for hours, fields in ((most, []), (most + 1, ["spec.resources[0].hours"])):
        document = load_sample("allocation-minimal")
        document["spec"]["resources"] = [{"name": "billing", "hours": hours}]
        assert [item.field for item in references.check_cluster(Allocation.parse(document), found)] == fields


def test_the_agent_gets_the_weights_in_order_and_the_scale() -> None:
    document = cluster("alpha", COUNTED, billing(2, 1000, GPU, CPU))
    entry = billing_of(document)
    assert entry is not None
    assert (entry.version, entry.scale) == (2, 1000)
    assert [(item.name, item.weight) for item in entry.weights] == [("cpu", 1000), ("gpu", 32_000)]
    assert scales_of(document) == Scales(1000)
    assert scales_of(None) == scales_of(cluster("alpha", PLAIN, None)) == Scales()


def test_settings_without_billing_are_written_as_they_always_were() -> None:
    plain = settings()
    assert "billing" not in json.loads(plain.canonical())
    weighed = plain.model_copy(update={"billing": billing_of(cluster("alpha", PLAIN, billing(2, 1000, CPU)))})
    assert weighed.canonical() != plain.canonical()
    for found in (plain, weighed):
        assert ClusterSettings.model_validate_json(found.canonical()) == found
