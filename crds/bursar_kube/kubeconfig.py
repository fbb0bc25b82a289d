"""Plain kubeconfigs: one file, a token or a client certificate.

The official client reads the rest; it takes as long to import as everything else.
"""

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

Fields = Mapping[str, Any]
_CLUSTER: Final = frozenset(
    {"server", "certificate-authority", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify"}
)
_USER: Final = frozenset({"token", "client-certificate", "client-certificate-data", "client-key", "client-key-data"})


@dataclass(frozen=True)
class Plain:
    """One context of a kubeconfig. ``folder`` is what its paths are relative to."""

    cluster: Fields
    user: Fields
    folder: Path

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self.cluster["server"]).rstrip("/")

    @property
    def authorization(self) -> str | None:
        """The Authorization header; None where the certificate says who we are."""
        token = self.user.get("token")
        return f"Bearer {token}" if token else None

    def tls(self, *, with_certificate: bool) -> ssl.SSLContext | None:
        """How to call the server; None where it speaks plain HTTP."""
        if not self.server.startswith("https"):
            return None
        context = ssl.create_default_context(
            cafile=self._path(self.cluster, "certificate-authority"), cadata=self._text(self.cluster, "certificate-authority")
        )
        if with_certificate:
            self._show_certificate(context)
        if self.cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def _show_certificate(self, context: ssl.SSLContext) -> None:
        certificate, key = (self._pem(name) for name in ("client-certificate", "client-key"))
        if certificate is not None and key is not None:
            with _file(certificate + b"\n" + key) as path:
                context.load_cert_chain(path)

    def _pem(self, name: str) -> bytes | None:
        text, path = self._text(self.user, name), self._path(self.user, name)
        return text.encode() if text is not None else None if path is None else Path(path).read_bytes()

    def _path(self, fields: Fields, name: str) -> str | None:
        return str(self.folder / fields[name]) if fields.get(name) and not fields.get(f"{name}-data") else None

    def _text(self, fields: Fields, name: str) -> str | None:
        data = fields.get(f"{name}-data")
        return base64.b64decode(data).decode() if data else None


def read(path: str, context: str | None) -> Plain | None:
    """A context of a kubeconfig, the current one where none is named; None where it is not plain, not there or not right."""
    if os.pathsep in path:
        return None
    try:
        document = yaml.load(Path(path).read_bytes(), Loader=yaml.CSafeLoader)
        chosen = _named(document["contexts"], context or document["current-context"])["context"]
        cluster = _named(document["clusters"], chosen["cluster"])["cluster"]
        user = _named(document["users"], chosen["user"])["user"] or {}
        plain = cluster.keys() <= _CLUSTER and user.keys() <= _USER and bool(cluster["server"])
    except (OSError, yaml.YAMLError, AttributeError, KeyError, TypeError):
        return None
    return Plain(cluster, user, Path(path).parent) if plain else None


def _named(items: list[Fields], name: str) -> Fields:
    return next((item for item in items if item["name"] == name), {})


@contextmanager
def _file(content: bytes) -> Iterator[str]:
    """A file that nobody else reads, for as long as it is needed: OpenSSL takes certificates from files alone."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.name
