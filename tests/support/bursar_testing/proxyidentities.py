"""Identities behind a proxy: what a kubeconfig says, and connections to the API server that show it."""

import base64
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import yaml


def connections(tls: ssl.SSLContext | bool) -> aiohttp.ClientSession:
    """Connections that pass bodies on as they are."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=120),
        read_bufsize=2**20,
    )


def parts(kubeconfig: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Cluster and user of the current context."""
    document = yaml.safe_load(kubeconfig.read_text())
    named = {
        section: {item["name"]: item[section[:-1]] for item in document[section]}
        for section in ("clusters", "contexts", "users")
    }
    context = named["contexts"][document["current-context"]]
    return named["clusters"][context["cluster"]], named["users"][context["user"]]


def trust(
    cluster: Mapping[str, Any], of: Path, user: Mapping[str, Any] | None = None, beside: Path | None = None
) -> ssl.SSLContext | bool:
    """TLS to the cluster, showing the user's certificate, whose files go `beside` a path; False for plain HTTP."""
    if not str(cluster["server"]).startswith("https"):
        return False
    authority = _content(cluster, "certificate-authority", of)
    context = ssl.create_default_context(cadata=authority.decode() if authority else None)
    if user and beside is not None:
        files = []
        for key in ("client-certificate", "client-key"):
            files.append(beside.with_name(f"{beside.name}.{key}"))
            files[-1].touch(mode=0o600)
            files[-1].write_bytes(_content(user, key, of))
        context.load_cert_chain(str(files[0]), str(files[1]))
    return context


def _content(entry: Mapping[str, Any], key: str, of: Path) -> bytes:
    """What a kubeconfig holds inline, or in a file that is named relative to it."""
    if f"{key}-data" in entry:
        return base64.b64decode(entry[f"{key}-data"])
    return (of.parent / entry[key]).read_bytes() if key in entry else b""
