"""The webhook's certificate: made here, kept in a Secret, renewed in time, its authority injected into the configuration.

The authority's key is thrown away as soon as it has signed the one certificate, so nothing that is kept can sign another. A
renewal therefore brings a new authority, which the API server trusts beside the old one before the webhook shows it.
"""

import asyncio
import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bursar_crds.names import FIELD_MANAGER, MANAGED_BY, MANAGED_BY_LABEL
from bursar_kube.client import Kube, Obj
from bursar_kube.errors import NotFound
from bursar_kube.resources import SECRETS, WEBHOOKCONFIGS

SECRET: Final = "bursar-webhook-tls"  # noqa: S105 - the name of the Secret object, not a secret
VALID: Final = timedelta(days=90)
RENEW_BEFORE: Final = timedelta(days=30)
BACKDATED: Final = timedelta(minutes=5)
PASS_SECONDS: Final = 10.0
FIRST_SECONDS: Final = 2.0
SETTLE_SECONDS: Final = 5.0  # the API server takes a changed configuration in within a second


@dataclass(frozen=True, slots=True)
class Issued:
    """PEM texts: the authorities to trust (newest first), the certificate, its key."""

    authorities: bytes
    certificate: bytes
    key: bytes


def issue(hosts: Iterable[str], now: datetime, trusted_before: bytes = b"", valid: timedelta = VALID) -> Issued:
    """A certificate for these names (and 127.0.0.1) from a fresh authority; `trusted_before` stays trusted beside it."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bursar webhook authority")])
    authority = (
        _builder(name, name, authority_key.public_key(), now, valid)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .sign(authority_key, SHA256())
    )
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bursar-webhooks")])
    names = [x509.DNSName(host) for host in hosts]
    certificate = (
        _builder(subject, name, key.public_key(), now, valid)
        .add_extension(x509.SubjectAlternativeName([*names, x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Issued(authority.public_bytes(Encoding.PEM) + trusted_before, certificate.public_bytes(Encoding.PEM), pem)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, valid: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + valid)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs,
        crl_sign=signs,
        encipher_only=False,
        decipher_only=False,
    )


def stored(secret: Obj | None) -> Issued | None:
    """What the Secret holds, or None where it is absent or not whole."""
    data: Mapping[str, str] = (secret or {}).get("data") or {}
    try:
        return Issued(*(b64decode(data[name], validate=True) for name in ("ca.crt", "tls.crt", "tls.key")))
    except (KeyError, binascii.Error):
        return None


def usable(issued: Issued, hosts: Iterable[str], now: datetime, renew_before: timedelta = RENEW_BEFORE) -> bool:
    """Whether it names the hosts, has its key, hangs on its first authority and has long enough to live."""
    try:
        certificate = x509.load_pem_x509_certificate(issued.certificate)
        authority = x509.load_pem_x509_certificates(issued.authorities)[0]
        certificate.verify_directly_issued_by(authority)
        has_key = load_pem_private_key(issued.key, None).public_key() == certificate.public_key()
        named = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # noqa: BLE001, RUF100 - whatever is wrong with it, a new one mends it
        return False
    fits = has_key and set(hosts) <= set(named.get_values_for_type(x509.DNSName))
    return fits and certificate.not_valid_after_utc - now > renew_before


def still_trusted(authorities: bytes, now: datetime, *, every: bool = False) -> bytes:
    """The newest of these authorities, if it is still valid: what a webhook may show until it has read the new Secret.

    `every` one that is still valid where nobody knows which of them has signed what is shown.
    """
    try:
        found = x509.load_pem_x509_certificates(authorities)
    except ValueError:
        return b""
    return b"".join(one.public_bytes(Encoding.PEM) for one in found[: None if every else 1] if one.not_valid_after_utc > now)


class Certificates:
    """Keeps Secret and configuration as they should be, however they were changed."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        configuration: str,
        now: Callable[[], datetime],
        *,
        valid: timedelta = VALID,
        renew_before: timedelta = RENEW_BEFORE,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._configuration = configuration
        self._now = now
        self._valid = valid
        self._renew_before = renew_before
        self._settle_seconds = settle_seconds
        self._shown: Issued | None = None
        self._hosts = ("localhost", f"bursar-webhooks.{namespace}.svc", f"bursar-webhooks.{namespace}.svc.cluster.local")

    async def run(self) -> None:
        """Look again every ten seconds, sooner until the configuration is there for the first time."""
        found = False
        while True:
            found = await self.ensure() or found
            await asyncio.sleep(PASS_SECONDS if found else FIRST_SECONDS)

    async def ensure(self) -> bool:
        """One pass; False where there is no configuration to inject into yet."""
        issued = stored(await self._secret())
        if issued is not None and usable(issued, self._hosts, self._now(), self._renew_before):
            self._shown = issued
            return await self._inject(issued.authorities)
        before = await self._trusted_before(issued)
        renewed = issue(self._hosts, self._now(), before, self._valid)
        found = await self._inject(renewed.authorities)
        if before:
            await asyncio.sleep(self._settle_seconds)
        await self._keep(renewed)
        self._shown = renewed
        return found

    async def _trusted_before(self, issued: Issued | None) -> bytes:
        """What replicas show until they have read the new Secret: the last good one, however the Secret was spoilt since.

        Who has just started and finds none goes by the configuration, which still names what was shown.
        """
        known = self._shown or issued
        before = still_trusted(known.authorities, self._now()) if known is not None else b""
        return before or still_trusted(await self._injected(), self._now(), every=True)

    async def _injected(self) -> bytes:
        """The authorities that the configuration names."""
        try:
            configuration = await self._kube.get(WEBHOOKCONFIGS, self._configuration)
        except NotFound:
            return b""
        named = (webhook["clientConfig"].get("caBundle") for webhook in configuration.get("webhooks") or [])
        return b64decode(next(named, None) or "")

    async def _secret(self) -> Obj | None:
        try:
            return await self._kube.get(SECRETS, SECRET, self._namespace)
        except NotFound:
            return None

    async def _keep(self, issued: Issued) -> None:
        data = {"ca.crt": issued.authorities, "tls.crt": issued.certificate, "tls.key": issued.key}
        secret = {
            "metadata": {"name": SECRET, "namespace": self._namespace, "labels": {MANAGED_BY_LABEL: MANAGED_BY}},
            "type": "kubernetes.io/tls",
            "data": {name: b64encode(value).decode() for name, value in data.items()},
        }
        await self._kube.apply(SECRETS, secret, field_manager=FIELD_MANAGER, force=True)

    async def _inject(self, authorities: bytes) -> bool:
        try:
            configuration = await self._kube.get(WEBHOOKCONFIGS, self._configuration)
        except NotFound:
            return False
        wanted = b64encode(authorities).decode()
        webhooks = configuration.get("webhooks") or []
        if any(webhook["clientConfig"].get("caBundle") != wanted for webhook in webhooks):
            for webhook in webhooks:
                webhook["clientConfig"]["caBundle"] = wanted
            await self._kube.replace(WEBHOOKCONFIGS, configuration)
        return True


def utc_now() -> datetime:
    """The wall clock, to the second."""
    return datetime.now(UTC).replace(microsecond=0)
