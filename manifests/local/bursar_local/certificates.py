"""Own certificate authorities, server and client certificates, and the key pair that signs ServiceAccount tokens.

Every stack has authorities of its own: what one signs, no other trusts.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from bursar_local.files import write_private

_AUTHORITY_DAYS = 3650
_LEAF_DAYS = 365
_CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True)
class KeyPair:
    """Two PEM files: a certificate (or public key) and its private key, both 0600."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority whose files lie in one directory as `<name>.crt` and `<name>.key`."""

    directory: Path
    name: str
    _certificate: x509.Certificate
    _key: ec.EllipticCurvePrivateKey

    @classmethod
    def load_or_create(cls, directory: Path, name: str) -> "Authority":
        """The authority of an earlier run, or a new one where there is none."""
        pair = _pair(directory, name)
        if pair.certificate.exists() and pair.key.exists():
            key = serialization.load_pem_private_key(pair.key.read_bytes(), password=None)
            if isinstance(key, ec.EllipticCurvePrivateKey):
                return cls(directory, name, x509.load_pem_x509_certificate(pair.certificate.read_bytes()), key)
        return cls._create(directory, name)

    @classmethod
    def _create(cls, directory: Path, name: str) -> "Authority":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _subject(f"bursar local {name}")
        certificate = (
            _builder(subject, subject, key.public_key(), _AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        _write_pair(_pair(directory, name), certificate, key)
        return cls(directory, name, certificate, key)

    @property
    def certificate_file(self) -> Path:
        """The PEM file that others trust."""
        return self.directory / f"{self.name}.crt"

    def issue_server(
        self, name: str, host_names: Sequence[str] = ("localhost",), addresses: Sequence[str] = ("127.0.0.1",)
    ) -> KeyPair:
        """A server certificate for `host_names` and `addresses`; written as `<name>.crt` and `<name>.key`."""
        alternatives: list[x509.GeneralName] = [x509.DNSName(host) for host in host_names]
        alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        return self._issue(name, _subject(name), [ExtendedKeyUsageOID.SERVER_AUTH], alternatives)

    def issue_client(self, name: str, user: str, groups: Sequence[str] = ()) -> KeyPair:
        """A client certificate for `user` in `groups` (common name and organizations, as Kubernetes reads them)."""
        return self._issue(name, _subject(user, groups), [ExtendedKeyUsageOID.CLIENT_AUTH], [])

    def issue_peer(self, name: str) -> KeyPair:
        """A certificate for both directions on loopback (etcd uses its server certificate as a client too)."""
        alternatives = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return self._issue(
            name, _subject(name), [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH], list(alternatives)
        )

    def _issue(
        self, name: str, subject: x509.Name, purposes: list[x509.ObjectIdentifier], alternatives: list[x509.GeneralName]
    ) -> KeyPair:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer_key = self._key.public_key()
        builder = (
            _builder(subject, self._certificate.subject, key.public_key(), _LEAF_DAYS)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        )
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        pair = _pair(self.directory, name)
        _write_pair(pair, builder.sign(self._key, hashes.SHA256()), key)
        return pair


def token_signing_keys(directory: Path, name: str = "service-accounts") -> KeyPair:
    """The key pair that signs ServiceAccount tokens; kept over restarts so that tokens stay good."""
    pair = KeyPair(directory / f"{name}.pub", directory / f"{name}.key")
    if not (pair.certificate.exists() and pair.key.exists()):
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(pair.key, _private_pem(key))
        public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        write_private(pair.certificate, public)
    return pair


def _pair(directory: Path, name: str) -> KeyPair:
    return KeyPair(directory / f"{name}.crt", directory / f"{name}.key")


def _write_pair(pair: KeyPair, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    write_private(pair.key, _private_pem(key))
    write_private(pair.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        # SEC1 rather than PKCS8: the API server reads ServiceAccount keys in this form in every version.
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _subject(common_name: str, organizations: Sequence[str] = ()) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization) for organization in organizations]
    return x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
