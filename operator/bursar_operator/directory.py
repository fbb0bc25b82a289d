"""Who owns a namespace or an account: only projects that the operator has settled, never what one merely claims."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bursar_domain.billing import scales_of
from bursar_domain.units import UNSCALED, Scales
from bursar_operator.informers import BY_ACCOUNT, BY_NAMESPACE, Informers

Obj = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Owner:
    """A settled project."""

    project: str
    account: str
    namespace: str
    deleting: bool

    @classmethod
    def of(cls, project: Obj) -> "Owner | None":
        """From the object; None while it has no account or namespace."""
        status = project.get("status") or {}
        account, namespace = status.get("account"), status.get("namespace")
        if not account or not namespace:
            return None
        return cls(project["metadata"]["name"], account, namespace, "deletionTimestamp" in project["metadata"])


class Directory:
    """Looks owners up in the informers."""

    def __init__(self, informers: Informers) -> None:
        self._informers = informers
        self._published: dict[str, Scales] = {}
        self._owners: dict[tuple[str, str], tuple[str, Owner]] = {}  # with the project's version

    def project(self, name: str) -> Owner | None:
        """The project of that name, if it is settled."""
        found = self._informers.projects.get(None, name)
        return Owner.of(found) if found else None

    def of_namespace(self, namespace: str) -> Owner | None:
        """The project that owns the namespace."""
        return self._owner(BY_NAMESPACE, namespace)

    def of_account(self, account: str) -> Owner | None:
        """The project that has the account."""
        return self._owner(BY_ACCOUNT, account)

    def _owner(self, index: str, key: str) -> Owner | None:
        """Asked several times for every allocation that is looked at: known as long as the project is what it was."""
        projects, known = self._informers.projects, self._owners.get((index, key))
        if known is not None and projects.version(None, known[1].project) == known[0]:
            return known[1]
        for project in projects.by_index(index, key):
            owner = Owner.of(project)
            if owner is not None:
                self._owners[index, key] = project["metadata"]["resourceVersion"], owner
                return owner
        return None

    def allocations(self, cluster: str, account: str) -> Iterator[dict[str, Any]]:
        """The account's allocations on the cluster, one after the other: there may be thousands."""
        owner = self.of_account(account)
        found = self._informers.allocations.each_by_index(BY_NAMESPACE, owner.namespace) if owner is not None else ()
        return (item for item in found if item["spec"]["clusterRef"]["name"] == cluster)

    def keys(self, account: str) -> list[tuple[str, str]]:
        """Namespace and name of the account's allocations, on whatever cluster."""
        owner = self.of_account(account)
        return [] if owner is None else self._informers.allocations.keys_by_index(BY_NAMESPACE, owner.namespace)

    def count(self, account: str) -> int:
        """How many allocations the account has, on whatever cluster."""
        return len(self.keys(account))

    def key_of(self, allocation: Obj) -> tuple[str, str] | None:
        """Cluster and account of an allocation."""
        return self.key_in(allocation["metadata"]["namespace"], allocation["spec"]["clusterRef"]["name"])

    def key_in(self, namespace: str, cluster: str) -> tuple[str, str] | None:
        """Cluster and account of what is in a namespace."""
        owner = self.of_namespace(namespace)
        return None if owner is None else (cluster, owner.account)

    def scales(self, cluster: str) -> Scales:
        """How the cluster's hours are counted; of one whose object was torn away, as it was published."""
        found = self._informers.clusters.get(None, cluster)
        return self._published.get(cluster, UNSCALED) if found is None else scales_of(found)

    def publish(self, cluster: str, scales: Scales) -> None:
        """The cluster's agent is told that hours are counted so."""
        self._published[cluster] = scales
