"""The keys of one control plane: two authorities, certificates for every connection, and the ServiceAccount key pair."""

from dataclasses import dataclass
from pathlib import Path

from bursar_local.certificates import Authority, KeyPair, token_signing_keys
from bursar_local.files import private_directory

ADMIN = "bursar-admin"


@dataclass(frozen=True)
class Credentials:
    """Everything that etcd, the API server, the controller manager and the administrator hold.

    etcd has an authority of its own: only the API server's certificate opens the store.
    """

    directory: Path
    authority_file: Path
    etcd_authority_file: Path
    etcd: KeyPair
    etcd_client: KeyPair
    api_server: KeyPair
    controller_manager_server: KeyPair
    controller_manager: KeyPair
    admin: KeyPair
    service_accounts: KeyPair

    @classmethod
    def prepare(cls, directory: Path) -> "Credentials":
        """Keep the authorities and the ServiceAccount keys of an earlier run, issue the certificates anew."""
        private_directory(directory)
        authority = Authority.load_or_create(directory, "ca")
        etcd_authority = Authority.load_or_create(directory, "etcd-ca")
        return cls(
            directory=directory,
            authority_file=authority.certificate_file,
            etcd_authority_file=etcd_authority.certificate_file,
            etcd=etcd_authority.issue_peer("etcd"),
            etcd_client=etcd_authority.issue_client("etcd-client", "kube-apiserver"),
            api_server=authority.issue_server("kube-apiserver"),
            controller_manager_server=authority.issue_server("kube-controller-manager"),
            controller_manager=authority.issue_client("kube-controller-manager-client", "system:kube-controller-manager"),
            admin=authority.issue_client("admin", ADMIN, ["system:masters"]),
            service_accounts=token_signing_keys(directory),
        )
