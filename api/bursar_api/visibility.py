"""Which objects a person may see: the same rule for every route.

A cluster-wide `list` right shows all. Otherwise a person sees the projects in whose namespace RBAC lets them list allocations,
and the clusters that such an allocation names.
"""

from collections.abc import Iterable
from typing import Any

from bursar_api.errors import NotFound
from bursar_api.identity.tokens import Person
from bursar_api.state import BY_NAMESPACE, Gateway
from bursar_crds.names import project_namespace

Obj = dict[str, Any]


def namespace_of(project: Obj) -> str:
    """The namespace that a Project owns."""
    return str(project.get("spec", {}).get("namespace") or project_namespace(project["metadata"]["name"]))


def account_of(project: Obj) -> str:
    """The scheduler account of a Project."""
    return str(project.get("spec", {}).get("account") or project["metadata"]["name"])


async def projects(gateway: Gateway, person: Person) -> list[Obj]:
    """Projects the person may see, by name."""
    found = sorted(gateway.caches.projects.items(), key=lambda p: str(p["metadata"]["name"]))
    if await gateway.access.may(person, "list", "projects"):
        return found
    mine = {m["metadata"]["namespace"] for m in gateway.caches.memberships.items() if m["spec"].get("user") == person.name}
    return [p for p in found if namespace_of(p) in mine and await sees_namespace(gateway, person, namespace_of(p))]


async def project(gateway: Gateway, person: Person, name: str) -> Obj:
    """One project that the person may see, by the same rule; `NotFound` else. Looks at no other project."""
    found = gateway.caches.projects.get(None, name)
    if found is None or not await _sees(gateway, person, namespace_of(found)):
        raise NotFound(f"there is no project {name} that you may see; `bursar get projects` lists those that you may")
    return found


async def _sees(gateway: Gateway, person: Person, namespace: str) -> bool:
    if await gateway.access.may(person, "list", "projects"):
        return True
    members = gateway.caches.memberships.by_index(BY_NAMESPACE, namespace)
    is_member = any(item["spec"].get("user") == person.name for item in members)
    return is_member and await sees_namespace(gateway, person, namespace)


async def sees_namespace(gateway: Gateway, person: Person, namespace: str) -> bool:
    """Whether allocations of the namespace may be listed."""
    return await gateway.access.may(person, "list", "allocations", namespace=namespace)


async def allocations(gateway: Gateway, person: Person) -> list[Obj]:
    """Allocations the person may see, by namespace and name."""
    if await gateway.access.may(person, "list", "allocations"):
        found: Iterable[Obj] = gateway.caches.allocations.items()
    else:
        seen = {namespace_of(p) for p in await projects(gateway, person)}
        found = (a for a in gateway.caches.allocations.items() if a["metadata"]["namespace"] in seen)
    return sorted(found, key=lambda a: (str(a["metadata"]["namespace"]), str(a["metadata"]["name"])))


async def allocations_of(gateway: Gateway, person: Person, owner: Obj) -> list[Obj]:
    """Allocations of one project that the person may see, by name."""
    namespace = namespace_of(owner)
    if not await sees_namespace(gateway, person, namespace):
        return []
    return sorted(gateway.caches.allocations.by_index(BY_NAMESPACE, namespace), key=lambda a: str(a["metadata"]["name"]))


async def clusters(gateway: Gateway, person: Person) -> list[Obj]:
    """Clusters the person may see, by name."""
    found = sorted(gateway.caches.clusters.items(), key=lambda c: str(c["metadata"]["name"]))
    if await gateway.access.may(person, "list", "clusters"):
        return found
    named = {a["spec"]["clusterRef"]["name"] for a in await allocations(gateway, person)}
    return [c for c in found if c["metadata"]["name"] in named]


async def cluster_names(gateway: Gateway, person: Person) -> set[str]:
    """The same by name; also those whose objects are gone and whose books go on."""
    known = set(await gateway.cluster_names())
    if await gateway.access.may(person, "list", "clusters"):
        return known
    return known.intersection(a["spec"]["clusterRef"]["name"] for a in await allocations(gateway, person))


async def pools(gateway: Gateway, person: Person) -> list[Obj]:
    """Pools the person may see, by name: what others hold of a pool is nobody's business without the right to list pools."""
    if not await gateway.access.may(person, "list", "quotapools"):
        return []
    return sorted(gateway.caches.pools.items(), key=lambda p: str(p["metadata"]["name"]))
