"""Where everything of one stack lies below its directory, and which ports it uses."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from bursar_local.files import private_directory, write_private
from bursar_local.ports import free_ports, is_free

DEFAULT_USERS: dict[str, dict[str, list[str]]] = {
    "alice": {"groups": []},
    "bob": {"groups": []},
    "carol": {"groups": []},
    "dana": {"groups": ["bursar-allocators"]},
    "erin": {"groups": ["bursar-admins"]},
}


@dataclass(frozen=True)
class StackPorts:
    """The loopback ports of Bursar's own parts."""

    gateway: int
    issuer: int
    webhooks: int
    operator: int


@dataclass(frozen=True)
class Layout:
    """The files of a stack in `directory` (0700; every secret in it 0600)."""

    directory: Path

    @classmethod
    def prepare(cls, directory: Path) -> "Layout":
        """Create the folders, and the secret and the users' file where an earlier run left none."""
        layout = cls(private_directory(directory))
        for folder in (layout.keys, layout.kubeconfigs, layout.pki, layout.control_plane):
            private_directory(folder)
        if not layout.identity_secret.exists():
            write_private(layout.identity_secret, secrets.token_urlsafe(32))
        if not layout.users_file.exists():
            write_private(layout.users_file, yaml.safe_dump(DEFAULT_USERS, sort_keys=False))
        return layout

    @property
    def control_plane(self) -> Path:
        """Directory of the control plane."""
        return self.directory / "controlplane"

    @property
    def keys(self) -> Path:
        """Secrets that are kept over restarts."""
        return self.directory / "keys"

    @property
    def pki(self) -> Path:
        """Authority and certificates of the gateway and the development issuer."""
        return self.directory / "pki"

    @property
    def kubeconfigs(self) -> Path:
        """One kubeconfig per part."""
        return self.directory / "kubeconfigs"

    @property
    def ledger_url(self) -> str:
        """URL of the ledger database."""
        return f"sqlite:///{self.directory / 'ledger.db'}"

    @property
    def signing_key(self) -> Path:
        """Seed of the operator's signing key (the operator makes it)."""
        return self.keys / "signing.key"

    @property
    def identity_secret(self) -> Path:
        """What a client must show to the development issuer."""
        return self.keys / "dev-identity.secret"

    @property
    def users_file(self) -> Path:
        """The development users; may be edited."""
        return self.directory / "dev-users.yaml"

    @property
    def users(self) -> tuple[str, ...]:
        """Names of the development users."""
        return tuple(yaml.safe_load(self.users_file.read_text()) or ())

    def kubeconfig(self, part: str) -> Path:
        """Kubeconfig of one part."""
        return self.kubeconfigs / f"{part}.kubeconfig"

    def choose_ports(self) -> StackPorts:
        """The ports of the last run where all are free, so that addresses handed out stay good; else new ones."""
        file = self.directory / "ports.json"
        try:
            ports = StackPorts(**json.loads(file.read_bytes()))
            if all(is_free(port) for port in asdict(ports).values()):
                return ports
        except (OSError, ValueError, TypeError):
            pass
        ports = StackPorts(*free_ports(4))
        write_private(file, json.dumps(asdict(ports)))
        return ports
