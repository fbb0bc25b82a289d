"""Keys, signed roots, enrolment MAC and token: what is not exactly right is refused."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_domain.enrolment import EnrolmentToken
from bursar_domain.keys import BadSignature, Signer, b64decode, b64encode, enrolment_mac, fingerprint, verify
from bursar_domain.wire import Root

ROOT = Root(cluster="alpha", epoch=1, generation=2, acknowledged=0, issued_at=3, valid_until=4, digest="d")
SIGNER = Signer(bytes(range(32)))


@given(st.binary(max_size=80))
def test_base64url_comes_back(data: bytes) -> None:
    assert b64decode(b64encode(data)) == data


@pytest.mark.parametrize("text", ["+w", "/w", "_w==", "_x", "_", "a b", "_w\n", "é"])
def test_one_text_for_one_value(text: str) -> None:
    """No padding, no other alphabet, no stray bits: or one key would have several names."""
    with pytest.raises(ValueError):  # noqa: PT011 - which one does not matter
        b64decode(text)


def test_a_signed_root_holds() -> None:
    assert verify(SIGNER.sign(ROOT), fingerprint(SIGNER.public_key)) == ROOT


@pytest.mark.parametrize("field", sorted(set(Root.model_fields) - {"cluster", "digest"}))
def test_a_root_that_was_changed_does_not(field: str) -> None:
    signed = SIGNER.sign(ROOT)
    bent = signed.model_copy(update={"root": ROOT.model_copy(update={field: 99})})
    with pytest.raises(BadSignature):
        verify(bent, fingerprint(SIGNER.public_key))


@pytest.mark.parametrize("field", ["cluster", "digest"])
def test_a_root_for_something_else_does_not(field: str) -> None:
    bent = SIGNER.sign(ROOT).model_copy(update={"root": ROOT.model_copy(update={field: "other"})})
    with pytest.raises(BadSignature):
        verify(bent, fingerprint(SIGNER.public_key))


def test_a_root_of_another_key_does_not() -> None:
    with pytest.raises(BadSignature, match="enrol the agent again"):
        verify(Signer.generate().sign(ROOT), fingerprint(SIGNER.public_key))


def test_the_pinned_key_with_anothers_signature_does_not() -> None:
    bent = SIGNER.sign(ROOT).model_copy(update={"signature": Signer.generate().sign(ROOT).signature})
    with pytest.raises(BadSignature):
        verify(bent, fingerprint(SIGNER.public_key))


@pytest.mark.parametrize(("field", "text"), [("signature", "x"), ("signature", ""), ("public_key", "x"), ("public_key", "")])
def test_garbage_is_a_bad_signature(field: str, text: str) -> None:
    with pytest.raises(BadSignature):
        verify(SIGNER.sign(ROOT).model_copy(update={field: text}), fingerprint(SIGNER.public_key))


def test_the_mac_is_over_cluster_and_key() -> None:
    good = enrolment_mac("secret", "alpha", SIGNER.public_key)
    others = [
        enrolment_mac("other", "alpha", SIGNER.public_key),
        enrolment_mac("secret", "beta", SIGNER.public_key),
        enrolment_mac("secret", "alpha", Signer.generate().public_key),
    ]
    assert good not in others
    assert good == enrolment_mac("secret", "alpha", SIGNER.public_key)


TOKEN = EnrolmentToken("alpha", "s" * 43, "f" * 64)


def test_a_token_comes_back() -> None:
    assert EnrolmentToken.parse(f"  {TOKEN}\n") == TOKEN


@pytest.mark.parametrize(
    "bent",
    [
        "",
        str(TOKEN)[:-1],
        str(TOKEN) + "0",
        str(TOKEN).replace("bursar1", "bursar2"),
        str(replace(TOKEN, cluster="Alpha")),
        str(replace(TOKEN, secret="short")),
        str(replace(TOKEN, fingerprint="F" * 64)),
    ],
)
def test_a_token_that_is_none_says_what_to_do(bent: str) -> None:
    with pytest.raises(ValueError, match="bursar clusters enrol"):
        EnrolmentToken.parse(bent)
