"""The gateway's settings, read once at start from `BURSAR_GATEWAY_*`."""

from ipaddress import ip_address
from typing import Self

from pydantic import Field, FilePath, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the gateway listens, whom it trusts and where its data is."""

    model_config = SettingsConfigDict(env_prefix="BURSAR_GATEWAY_", frozen=True, extra="ignore")

    kubeconfig: FilePath | None = Field(
        None, description="Kubeconfig of the gateway's own read-only identity; absent: in the cluster."
    )
    ledger_url: str = Field(
        pattern=r"^[a-z0-9+]+://",
        description="Ledger database, e.g. sqlite:////var/lib/bursar/ledger.db or postgresql://user:password@host/database.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8443, ge=1, le=65535, description="Port to listen on.")
    tls_certificate: FilePath = Field(description="PEM certificate chain of the gateway.")
    tls_key: FilePath = Field(description="PEM private key of the gateway.")
    issuer: str = Field(description="OIDC issuer, exactly as it stands in tokens.")
    issuer_ca: FilePath | None = Field(None, description="CA of the issuer's TLS certificate; absent: the system's.")
    audience: str = Field("bursar", description="Audience that a token must carry.")
    clients: tuple[str, ...] = Field(("bursar-cli", "bursar-gateway"), description="Accepted `azp` values.")
    user_prefix: str = Field("oidc:", description="Prefix the API server puts before user and group names.")
    dev_identity: bool = Field(False, description="Serve the development issuer; loopback only.")
    dev_identity_port: int = Field(8444, ge=1, le=65535, description="Port of the development issuer.")
    dev_identity_certificate: FilePath | None = Field(None, description="PEM certificate of the development issuer.")
    dev_identity_key: FilePath | None = Field(None, description="PEM private key of the development issuer.")
    dev_identity_secret_file: FilePath | None = Field(None, description="File whose content a client must know to get a token.")
    dev_identity_users_file: FilePath | None = Field(None, description="YAML map of the development users and their groups.")

    @model_validator(mode="after")
    def _development_issuer_stays_local(self) -> Self:
        if not self.dev_identity:
            return self
        missing = [name for name in DEV_FILES if getattr(self, name) is None]
        if missing:
            raise ValueError(f"--dev-identity needs {', '.join('BURSAR_GATEWAY_' + name.upper() for name in missing)}")
        if not _loopback(self.host):
            raise ValueError(f"--dev-identity refuses to run on {self.host}: a development issuer stays on a loopback address")
        if self.issuer != f"https://127.0.0.1:{self.dev_identity_port}":
            raise ValueError(
                f"--dev-identity serves https://127.0.0.1:{self.dev_identity_port}, and BURSAR_GATEWAY_ISSUER names "
                f"{self.issuer}: a development issuer does not run beside a real one"
            )
        return self


DEV_FILES = ("dev_identity_certificate", "dev_identity_key", "dev_identity_secret_file", "dev_identity_users_file")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
