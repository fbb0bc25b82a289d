"""Ed25519 keys, signed roots and the enrolment MAC. Keys are bytes in, bytes out: reading and writing files is the caller's."""

import base64
import hmac
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bursar_domain.wire import Root, SignedRoot


class BadSignature(Exception):
    """A root whose signature or key is not the one that was pinned."""


def b64encode(data: bytes) -> str:
    """Unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64decode(text: str) -> bytes:
    """Bytes of unpadded base64url; ValueError where it is not, or not the one text for its value."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if b64encode(data) != text:
        raise ValueError("this is not base64url as it is written here: no padding, - and _, no bits to spare")
    return data


def fingerprint(public_key: str) -> str:
    """SHA-256 (hex) of the raw public key given in base64url."""
    return sha256(b64decode(public_key)).hexdigest()


def enrolment_mac(secret: str, cluster: str, public_key: str) -> str:
    """HMAC-SHA256 under the one-time secret over cluster and key, in hex."""
    return hmac.new(secret.encode(), f"{cluster}\n{public_key}".encode(), sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs roots; `seed` is the 32 raw bytes of the private key."""

    seed: bytes

    @classmethod
    def generate(cls) -> "Signer":
        """A new random key."""
        return cls(Ed25519PrivateKey.generate().private_bytes_raw())

    @property
    def private(self) -> Ed25519PrivateKey:
        """The key object."""
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    @property
    def public_key(self) -> str:
        """Raw public key in base64url."""
        return b64encode(self.private.public_key().public_bytes_raw())

    def sign(self, root: Root) -> SignedRoot:
        """The root with key and signature."""
        return SignedRoot(root=root, public_key=self.public_key, signature=b64encode(self.private.sign(root.canonical())))


def verify(signed: SignedRoot, pinned_fingerprint: str) -> Root:
    """The root, if the pinned key signed it; `BadSignature` otherwise."""
    try:
        if not hmac.compare_digest(fingerprint(signed.public_key), pinned_fingerprint):
            raise BadSignature(
                "the desired state is signed with another key than the one pinned at enrolment; enrol the agent again"
            )
        key = Ed25519PublicKey.from_public_bytes(b64decode(signed.public_key))
        key.verify(b64decode(signed.signature), signed.root.canonical())
    except (InvalidSignature, ValueError) as error:
        raise BadSignature("the signature of the desired state does not hold; nothing of it was used") from error
    return signed.root
