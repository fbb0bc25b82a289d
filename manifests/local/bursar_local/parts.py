"""The command lines and settings of Bursar's own parts, as pure functions of layout and ports."""

import signal
import sys
from pathlib import Path

from bursar_local.certificates import KeyPair
from bursar_local.layout import Layout, StackPorts
from bursar_local.process import Command

SYSTEM_NAMESPACE = "bursar-system"
WEBHOOK_SECRET = "bursar-webhook-tls"  # noqa: S105 - the name of a Secret, not a secret
SERVICE_ACCOUNTS = ("bursar-operator", "bursar-webhooks", "bursar-gateway")
# A part may stand in a different cluster's shadow: only the file we hand over counts.
_UNSET = frozenset({"KUBECONFIG"})


def operator(layout: Layout, ports: StackPorts) -> Command:
    """The operator: decides, signs, writes the ledger's desired state."""
    return _python(
        "operator",
        "bursar_operator",
        {
            "BURSAR_OPERATOR_KUBECONFIG": layout.kubeconfig("bursar-operator"),
            "BURSAR_OPERATOR_LEDGER_URL": layout.ledger_url,
            "BURSAR_OPERATOR_SIGNING_KEY_FILE": layout.signing_key,
            "BURSAR_OPERATOR_HEALTH_PORT": ports.operator,
            "BURSAR_OPERATOR_SYSTEM_NAMESPACE": SYSTEM_NAMESPACE,
        },
    )


def webhooks(layout: Layout, ports: StackPorts) -> Command:
    """The validating webhook."""
    return _python(
        "webhooks",
        "bursar_webhooks",
        {
            "BURSAR_WEBHOOKS_KUBECONFIG": layout.kubeconfig("bursar-webhooks"),
            "BURSAR_WEBHOOKS_PORT": ports.webhooks,
            "BURSAR_WEBHOOKS_CERTIFICATE_SECRET": WEBHOOK_SECRET,
        },
    )


def gateway(layout: Layout, ports: StackPorts, server: KeyPair, authority: Path) -> Command:
    """The gateway with the development issuer in the same process."""
    return _python(
        "gateway",
        "bursar_api",
        {
            "BURSAR_GATEWAY_KUBECONFIG": layout.kubeconfig("bursar-gateway"),
            "BURSAR_GATEWAY_LEDGER_URL": layout.ledger_url,
            "BURSAR_GATEWAY_PORT": ports.gateway,
            "BURSAR_GATEWAY_TLS_CERTIFICATE": server.certificate,
            "BURSAR_GATEWAY_TLS_KEY": server.key,
            "BURSAR_GATEWAY_ISSUER": issuer_url(ports),
            "BURSAR_GATEWAY_ISSUER_CA": authority,
            "BURSAR_GATEWAY_AUDIENCE": "bursar",
            "BURSAR_GATEWAY_DEV_IDENTITY_PORT": ports.issuer,
            "BURSAR_GATEWAY_DEV_IDENTITY_CERTIFICATE": server.certificate,
            "BURSAR_GATEWAY_DEV_IDENTITY_KEY": server.key,
            "BURSAR_GATEWAY_DEV_IDENTITY_SECRET_FILE": layout.identity_secret,
            "BURSAR_GATEWAY_DEV_IDENTITY_USERS_FILE": layout.users_file,
        },
        "--dev-identity",
    )


def issuer_url(ports: StackPorts) -> str:
    """The development issuer, exactly as it stands in tokens."""
    return f"https://127.0.0.1:{ports.issuer}"


def gateway_url(ports: StackPorts) -> str:
    """The gateway's base address."""
    return f"https://127.0.0.1:{ports.gateway}"


def webhooks_url(ports: StackPorts) -> str:
    """The webhook server's base address."""
    return f"https://127.0.0.1:{ports.webhooks}"


def operator_url(ports: StackPorts) -> str:
    """The operator's health and metrics address."""
    return f"http://127.0.0.1:{ports.operator}"


def _python(name: str, module: str, settings: dict[str, object], *arguments: str) -> Command:
    return Command(
        name,
        # -P: the stack's directory is the working directory, and must not become a source of imports.
        (sys.executable, "-P", "-m", module, *arguments),
        environment={key: str(value) for key, value in settings.items()},
        unset=_UNSET,
        # A part may hold a lease or a transaction: when the launcher is killed it is asked to end, not cut off.
        death_signal=signal.SIGTERM,
        grace_seconds=15,
    )
