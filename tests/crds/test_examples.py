"""The examples: every object is valid by itself and beside the others of its folder or file, and the API server takes it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bursar_client.cli.apply import documents
from bursar_crds.allocation import Allocation
from bursar_crds.cluster import Cluster
from bursar_crds.common import Resource
from bursar_crds.kinds import model_of
from bursar_crds.quotapool import QuotaPool
from bursar_domain.references import check_access, check_cluster, check_parent, check_pool
from bursar_domain.validate import validate
from bursar_domain.violations import Violation
from bursar_testing.rawapi import Api
from bursar_testing.samples import SAMPLES

Document = dict[str, Any]
R = TypeVar("R", bound=Resource[Any, Any])
EXAMPLES = SAMPLES.parent
BOOKS = sorted((EXAMPLES / "books").glob("*.yaml"))
# What is applied together.
SITES = [[file] for file in BOOKS] + [sorted(EXAMPLES.glob("*.yaml"))]

by_site = pytest.mark.parametrize("files", SITES, ids=lambda files: files[0].name)


def read(files: list[Path]) -> list[Document]:
    """Every document."""
    return [document for file in files for document in documents(file.read_text())]


def named(found: list[Document], model: type[R]) -> Mapping[str, R]:
    """The objects of one kind by their names."""
    objects = [model.parse(item) for item in found if model_of(item["kind"]) is model]
    return {item.name: item for item in objects}


@by_site
def test_every_object_is_valid(files: list[Path]) -> None:
    for document in read(files):
        assert [str(item) for item in validate(document)] == [], document["metadata"]["name"]


@by_site
def test_objects_fit_each_other(files: list[Path]) -> None:
    found = read(files)
    clusters, pools = named(found, Cluster), named(found, QuotaPool)
    allocations = [Allocation.parse(item) for item in found if item["kind"] == "Allocation"]
    wrong: list[Violation] = []
    for pool in pools.values():
        parent = pool.spec.parent_ref
        wrong += check_cluster(pool, clusters.get(pool.spec.cluster_ref.name))
        wrong += check_parent(pool, pools.get(parent.name) if parent else None)
    for item in allocations:
        project = str(item.namespace).removeprefix("project-")
        cluster = clusters.get(item.spec.cluster_ref.name)
        wrong += check_cluster(item, cluster) + check_access(item, project, cluster)
        if item.spec.pool_ref is not None:
            wrong += check_pool(item, project, pools.get(item.spec.pool_ref.name))
    assert allocations
    assert [str(item) for item in wrong] == []


@pytest.mark.parametrize("file", BOOKS, ids=lambda file: file.name)
async def test_the_api_server_takes_it(api: Api, namespaces: None, file: Path) -> None:
    for document in read([file]):
        answer = await api.create(document, dry_run=True)
        assert answer.status_code == 201, answer.text


def test_there_is_one_with_service_units_and_one_with_everything_about_time() -> None:
    found = read(BOOKS)
    assert [item["metadata"]["name"] for item in found if "billing" in item["spec"]] == ["gamma"]
    wanted = {"recurrence", "carryOver", "tranches", "thresholds"}
    assert [item["metadata"]["name"] for item in found if wanted <= item["spec"].keys()] == ["delta-2027"]
