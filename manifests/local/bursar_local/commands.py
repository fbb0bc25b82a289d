"""The command lines of etcd, kube-apiserver and kube-controller-manager, as pure functions of files and ports."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bursar_local.credentials import Credentials
from bursar_local.process import Command

CONTROLLERS = (
    "namespace-controller",
    "garbage-collector-controller",
    "resourcequota-controller",
    "clusterrole-aggregation-controller",
)
SERVICE_ACCOUNT_ISSUER = "https://kubernetes.default.svc.cluster.local"
_HOST = "127.0.0.1"
_STORE_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class Ports:
    """The loopback ports of one control plane."""

    etcd_client: int
    etcd_peer: int
    api_server: int
    controller_manager: int


def etcd(binary: Path, directory: Path, credentials: Credentials, ports: Ports) -> Command:
    """etcd on loopback with mutual TLS; no fsync, since a local stack needs to survive a kill, not a power cut."""
    client, peer = f"https://{_HOST}:{ports.etcd_client}", f"https://{_HOST}:{ports.etcd_peer}"
    flags = {
        "name": "local",
        "data-dir": directory / "etcd",
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"local={peer}",
        "client-cert-auth": "true",
        "trusted-ca-file": credentials.etcd_authority_file,
        "cert-file": credentials.etcd.certificate,
        "key-file": credentials.etcd.key,
        "peer-client-cert-auth": "true",
        "peer-trusted-ca-file": credentials.etcd_authority_file,
        "peer-cert-file": credentials.etcd.certificate,
        "peer-key-file": credentials.etcd.key,
        "quota-backend-bytes": _STORE_BYTES,
        "unsafe-no-fsync": "true",
        "log-level": "warn",
    }
    return Command("etcd", _argv(binary, "etcd", flags))


def kube_apiserver(
    binary: Path,
    credentials: Credentials,
    ports: Ports,
    authentication_file: Path,
    extra_arguments: Sequence[str] = (),
) -> Command:
    """kube-apiserver on loopback: RBAC, structured authentication, no shared token of any kind."""
    flags = {
        "etcd-servers": f"https://{_HOST}:{ports.etcd_client}",
        "etcd-cafile": credentials.etcd_authority_file,
        "etcd-certfile": credentials.etcd_client.certificate,
        "etcd-keyfile": credentials.etcd_client.key,
        "bind-address": _HOST,
        "advertise-address": _HOST,
        "secure-port": ports.api_server,
        # The `kubernetes` Service may not point to a loopback address, and nobody here would use it.
        "endpoint-reconciler-type": "none",
        "tls-cert-file": credentials.api_server.certificate,
        "tls-private-key-file": credentials.api_server.key,
        "cert-dir": credentials.directory,
        "client-ca-file": credentials.authority_file,
        "authentication-config": authentication_file,
        "authorization-mode": "RBAC",
        "service-account-issuer": SERVICE_ACCOUNT_ISSUER,
        "service-account-key-file": credentials.service_accounts.certificate,
        "service-account-signing-key-file": credentials.service_accounts.key,
        "service-cluster-ip-range": "10.96.0.0/24",
        "event-ttl": "1h",
        "max-requests-inflight": 400,
        "max-mutating-requests-inflight": 200,
        "profiling": "false",
        "v": 1,
    }
    return Command("kube-apiserver", (*_argv(binary, "kube-apiserver", flags), *extra_arguments), grace_seconds=15)


def kube_controller_manager(binary: Path, credentials: Credentials, ports: Ports, kubeconfig: Path) -> Command:
    """kube-controller-manager with the few controllers that an API server without nodes needs."""
    flags = {
        "kubeconfig": kubeconfig,
        "controllers": ",".join(CONTROLLERS),
        "leader-elect": "false",
        # One identity per controller, each bound to its own bootstrap role.
        "use-service-account-credentials": "true",
        "bind-address": _HOST,
        "secure-port": ports.controller_manager,
        "tls-cert-file": credentials.controller_manager_server.certificate,
        "tls-private-key-file": credentials.controller_manager_server.key,
        "cert-dir": credentials.directory,
        "authentication-skip-lookup": "true",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "concurrent-gc-syncs": 5,
        "profiling": "false",
        "v": 1,
    }
    return Command("kube-controller-manager", _argv(binary, "kube-controller-manager", flags))


def _argv(binary: Path, part: str, flags: dict[str, object]) -> tuple[str, ...]:
    return (str(binary), part, *(f"--{name}={value}" for name, value in flags.items()))
