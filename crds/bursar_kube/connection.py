"""Where the API server is and how to show who we are: kubeconfig or service account.

All but plain kubeconfigs are read by the official client, which is imported then.
"""

import os
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from yaml import YAMLError

from bursar_kube import kubeconfig as kubeconfigs
from bursar_kube.errors import NotConfigured

if TYPE_CHECKING:
    from kubernetes.aio.client import Configuration

Credentials = Callable[[], Awaitable[str | None]]
"""Gives the Authorization header of now, or None where the TLS certificate says who we are."""


@dataclass(frozen=True)
class Connection:
    """An API server and an identity. `tls` shows the client certificate, `bare_tls` never does."""

    server: str
    tls: ssl.SSLContext | None
    bare_tls: ssl.SSLContext | None
    server_name: str | None
    proxy: str | None
    credentials: Credentials


async def find_connection(kubeconfig: str | None, context: str | None) -> Connection:
    """The kubeconfig that is named, else the pod's service account, else $KUBECONFIG or ~/.kube/config."""
    in_pod = kubeconfig is None and "KUBERNETES_SERVICE_HOST" in os.environ
    path = kubeconfig or os.environ.get("KUBECONFIG") or str(Path.home() / ".kube" / "config")
    plain = None if in_pod else kubeconfigs.read(path, context)
    return await _official(kubeconfig, None if in_pod else path, context) if plain is None else _plain(plain, path)


def _plain(plain: kubeconfigs.Plain, path: str) -> Connection:
    async def header() -> str | None:
        return plain.authorization

    try:
        tls, bare_tls = plain.tls(with_certificate=True), plain.tls(with_certificate=False)
    except (OSError, ValueError) as error:
        raise NotConfigured(f"cannot use the kubeconfig {path}: {error}; mend its certificates", reason="Config") from error
    return Connection(plain.server, tls, bare_tls, plain.cluster.get("tls-server-name"), None, header)


async def _official(named: str | None, path: str | None, context: str | None) -> Connection:
    """As the official client reads it; the pod's service account where there is no ``path``."""
    from kubernetes.aio import config as kube_config
    from kubernetes.aio.client import Configuration

    configuration = Configuration()
    try:
        if path is None:
            kube_config.load_incluster_config(client_configuration=configuration)
        else:
            await _load_kubeconfig(configuration, path, context)
        return Connection(
            server=configuration.host.rstrip("/"),
            tls=_tls(configuration, with_certificate=True),
            bare_tls=_tls(configuration, with_certificate=False),
            server_name=configuration.tls_server_name,
            proxy=configuration.proxy,
            credentials=_credentials(configuration),
        )
    except (kube_config.ConfigException, OSError, YAMLError, TypeError) as error:
        where = named or "$KUBECONFIG or ~/.kube/config"
        raise NotConfigured(f"cannot use the kubeconfig {where}: {error}; name one that exists", reason="Config") from error


async def _load_kubeconfig(configuration: "Configuration", path: str, context: str | None) -> None:
    from kubernetes.aio import config as kube_config

    loader = await kube_config.load_kube_config(
        config_file=path, context=context, client_configuration=configuration, persist_config=False
    )
    if hasattr(loader, "exec_plugin_expiry"):

        async def renew(target: "Configuration") -> None:
            await loader.load_from_exec_plugin()
            target.api_key["BearerToken"] = loader.token

        configuration.refresh_api_key_hook = renew


def _credentials(configuration: "Configuration") -> Credentials:
    async def header() -> str | None:
        value = await configuration.get_api_key_with_prefix("BearerToken")
        return str(value) if value else None

    return header


def _tls(configuration: "Configuration", *, with_certificate: bool) -> ssl.SSLContext | None:
    if not configuration.host.startswith("https"):
        return None
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert, cadata=configuration.ca_cert_data)
    if with_certificate and configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
