"""Names that every part shares: API group, labels, annotations, and the patterns of names that may reach a scheduler.

Slurm folds case, splits at commas, expands brackets, reads `x=1` as an option and truncates at 255 characters, so an account
or a user that does not match its pattern here never leaves the resources.
"""

import re
from collections.abc import Mapping
from typing import Final

GROUP: Final = "bursar.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = "bursar.dev/v1alpha1"

SYSTEM_NAMESPACE: Final = "bursar-system"
PROJECT_NAMESPACE_PREFIX: Final = "project-"
DEFAULT_ROOT_ACCOUNT: Final = "bursar"
FIELD_MANAGER: Final = "bursar-operator"

FINALIZER: Final = f"{GROUP}/release"

ACKNOWLEDGED_GENERATION: Final = f"{GROUP}/acknowledged-generation"
DRAIN_CONFIRMED_BY: Final = f"{GROUP}/drain-confirmed-by"
CONFIRM_DELETE: Final = f"{GROUP}/confirm-delete"
RELEASE_STATEMENT: Final = f"{GROUP}/release-statement"

PROJECT_LABEL: Final = f"{GROUP}/project"
CLUSTER_LABEL: Final = f"{GROUP}/cluster"
MANAGED_BY_LABEL: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "bursar"

ACCOUNT_PATTERN: Final = r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$"
USER_PATTERN: Final = r"^[a-z_][a-z0-9_-]{0,30}$"
CLUSTER_PATTERN: Final = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"
PROJECT_PATTERN: Final = r"^[a-z0-9]([a-z0-9-]{0,53}[a-z0-9])?$"
RESOURCE_NAME_PATTERN: Final = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
TRACKABLE_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9._:/-]{0,126}$"
LABEL_PATTERN: Final = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
OBJECT_NAME_PATTERN: Final = r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$"
PLUGIN_PATTERN: Final = r"^[a-z][a-z0-9_-]{0,30}$"
GATE_PATTERN: Final = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
TIME_ZONE_PATTERN: Final = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$"

# What a person is told who wrote a name that does not match.
HELP: Final[Mapping[str, str]] = {
    ACCOUNT_PATTERN: "an account is 2 to 32 of a-z, 0-9 and -, begins with a letter and does not end in -",
    USER_PATTERN: "a user is 1 to 31 of a-z, 0-9, _ and -, and begins with a letter or _",
    CLUSTER_PATTERN: "a cluster's name is 1 to 40 of a-z, 0-9 and -, begins with a letter and does not end in -",
    PROJECT_PATTERN: "a project's name is 1 to 55 of a-z, 0-9 and -, without - at the ends",
    RESOURCE_NAME_PATTERN: "a resource's name is 1 to 63 of a-z, 0-9 and -, begins with a letter and does not end in -",
    OBJECT_NAME_PATTERN: "a name is 1 to 63 of a-z, 0-9, - and ., without - or . at the ends",
}

# Slurm makes `root` itself; an account of that name would be every account's parent.
RESERVED_ACCOUNTS: Final = ("root",)
RESERVED_NAMESPACES: Final = ("default", SYSTEM_NAMESPACE)
RESERVED_NAMESPACE_PREFIX: Final = "kube-"

ACCOUNT: Final = re.compile(ACCOUNT_PATTERN)
USER: Final = re.compile(USER_PATTERN)
RESOURCE_NAME: Final = re.compile(RESOURCE_NAME_PATTERN)
PROJECT: Final = re.compile(PROJECT_PATTERN)
CLUSTER: Final = re.compile(CLUSTER_PATTERN)


def matches_account(name: str) -> bool:
    """Whether the name has the form of an account."""
    return ACCOUNT.fullmatch(name) is not None


def is_account(name: str) -> bool:
    """Whether a project may have this account: the form fits and the scheduler does not claim the name itself."""
    return matches_account(name) and name not in RESERVED_ACCOUNTS


def is_user(name: str) -> bool:
    """Whether a scheduler takes this user name as it stands."""
    return USER.fullmatch(name) is not None


def is_resource_name(name: str) -> bool:
    """Whether this is the name of a countable resource such as `cpu`."""
    return RESOURCE_NAME.fullmatch(name) is not None


def is_cluster(name: str) -> bool:
    """Whether this is a name that a Cluster may have."""
    return CLUSTER.fullmatch(name) is not None


def project_namespace(project: str) -> str:
    """The namespace that a Project owns unless its spec says otherwise."""
    return f"{PROJECT_NAMESPACE_PREFIX}{project}"
