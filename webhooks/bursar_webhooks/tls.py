"""The serving certificate: from the Secret that the operator keeps, taken up anew whenever it changes."""

import asyncio
import ssl
import tempfile
from base64 import b64decode
from binascii import Error as Base64Error
from pathlib import Path

import structlog

from bursar_kube.client import Kube, Obj
from bursar_kube.informer import EventType, Informer
from bursar_kube.resources import SECRETS

_LOG = structlog.get_logger("bursar.webhooks")


class ServingCertificate:
    """A TLS context that follows one Secret. New connections get the newest certificate; old ones live on."""

    def __init__(self, kube: Kube, secret: str, namespace: str) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._name = f"{namespace}/{secret}"
        self._loaded = asyncio.Event()
        self._pair: tuple[bytes, bytes] | None = None
        self._copy = Informer(kube, SECRETS, namespace, field_selector=f"metadata.name={secret}")
        self._copy.subscribe(self._changed)

    async def start(self) -> None:
        """Begin to follow the Secret."""
        await self._copy.start()

    async def wait(self) -> None:
        """Until there is a certificate."""
        if not self._loaded.is_set():
            _LOG.info("waiting for the serving certificate", secret=self._name)
        await self._loaded.wait()

    async def stop(self) -> None:
        """Stop following."""
        await self._copy.stop()

    def _changed(self, kind: EventType, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            _LOG.warning("the serving certificate's Secret is gone; the last one stays in use", secret=self._name)
            return
        try:
            pair = _pair(new)
            if pair != self._pair:
                _load(self.context, *pair)
                self._pair = pair
                _LOG.info("serving certificate taken up", secret=self._name)
        except (KeyError, Base64Error, OSError) as error:
            _LOG.error("the Secret holds no usable certificate; the last one stays", secret=self._name, error=str(error))
        else:
            self._loaded.set()


def _pair(secret: Obj) -> tuple[bytes, bytes]:
    data = secret["data"]
    return b64decode(data["tls.crt"], validate=True), b64decode(data["tls.key"], validate=True)


def _load(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL reads files only; these are private and gone before this returns.

    A pair that does not fit leaves the context that it is loaded into without a key, so another one tries it first.
    """
    with tempfile.TemporaryDirectory(prefix="bursar-webhooks-") as folder:
        certificate_file, key_file = Path(folder, "tls.crt"), Path(folder, "tls.key")
        certificate_file.write_bytes(certificate)
        key_file.touch(mode=0o600)
        key_file.write_bytes(key)
        for target in (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), context):
            target.load_cert_chain(certificate_file, key_file)
