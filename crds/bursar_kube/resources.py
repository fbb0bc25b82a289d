"""The kinds that Bursar reads and writes, and where the API server serves them."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from bursar_crds import names
from bursar_crds.kinds import KINDS


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One kind as the API server serves it; `group` is empty for the core kinds."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        """`apiVersion` of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, name: str | None = None, namespace: str | None = None, subresource: str | None = None) -> str:
        """URL path of the collection, of one object, or of its subresource; without `namespace`: of every namespace."""
        parts = ["/apis", self.group, self.version] if self.group else ["/api", self.version]
        if namespace is not None and self.namespaced:
            parts += ["namespaces", quote(namespace, safe="")]
        parts.append(self.plural)
        if name is not None:
            if self.namespaced and namespace is None:
                raise ValueError(f"{self.kind} {name} needs a namespace: pass one, or set metadata.namespace")
            parts.append(quote(name, safe=""))
        if subresource is not None:
            parts.append(subresource)
        return "/".join(parts)


def _own(plural: str) -> ResourceType:
    info = next(item for item in KINDS.values() if item.plural == plural)
    return ResourceType(names.GROUP, names.VERSION, info.plural, info.kind, info.namespaced)


CLUSTERS: Final = _own("clusters")
PROJECTS: Final = _own("projects")
MEMBERSHIPS: Final = _own("memberships")
QUOTAPOOLS: Final = _own("quotapools")
ALLOCATIONS: Final = _own("allocations")
OWN: Final = (CLUSTERS, PROJECTS, MEMBERSHIPS, QUOTAPOOLS, ALLOCATIONS)

NAMESPACES: Final = ResourceType("", "v1", "namespaces", "Namespace", False)
SECRETS: Final = ResourceType("", "v1", "secrets", "Secret", True)
CONFIGMAPS: Final = ResourceType("", "v1", "configmaps", "ConfigMap", True)
SERVICEACCOUNTS: Final = ResourceType("", "v1", "serviceaccounts", "ServiceAccount", True)
RESOURCEQUOTAS: Final = ResourceType("", "v1", "resourcequotas", "ResourceQuota", True)
PODS: Final = ResourceType("", "v1", "pods", "Pod", True)
EVENTS: Final = ResourceType("events.k8s.io", "v1", "events", "Event", True)
ROLES: Final = ResourceType("rbac.authorization.k8s.io", "v1", "roles", "Role", True)
ROLEBINDINGS: Final = ResourceType("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding", True)
CLUSTERROLES: Final = ResourceType("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
CLUSTERROLEBINDINGS: Final = ResourceType("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False)
LEASES: Final = ResourceType("coordination.k8s.io", "v1", "leases", "Lease", True)
CUSTOMRESOURCEDEFINITIONS: Final = ResourceType(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False
)
WEBHOOKCONFIGS: Final = ResourceType(
    "admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration", False
)
VALIDATINGPOLICIES: Final = ResourceType(
    "admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False
)
TOKENREVIEWS: Final = ResourceType("authentication.k8s.io", "v1", "tokenreviews", "TokenReview", False)
SELFSUBJECTREVIEWS: Final = ResourceType("authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False)
SUBJECTACCESSREVIEWS: Final = ResourceType("authorization.k8s.io", "v1", "subjectaccessreviews", "SubjectAccessReview", False)
SELFSUBJECTACCESSREVIEWS: Final = ResourceType(
    "authorization.k8s.io", "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", False
)


def by_kind(kind: str) -> ResourceType | None:
    """The type of one of Bursar's own kinds, or None."""
    return next((item for item in OWN if item.kind == kind), None)
