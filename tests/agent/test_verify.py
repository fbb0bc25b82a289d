"""Which desired states are refused."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from bursar_agent import verify
from bursar_agent.desired import DesiredStore
from bursar_agent.files import DamagedFile
from bursar_domain.keys import Signer, fingerprint
from bursar_domain.wire import AccountEntry, Delta, Root, digest_of_all
from bursar_testing.agents import account, allocation, cluster_settings

SIGNER = Signer.generate()
PINNED = fingerprint(SIGNER.public_key)
A, B, C = (account(name, allocation(f"uid-{name}", 10)) for name in "abc")


def delta(
    entries: Sequence[AccountEntry],
    generation: int = 5,
    *,
    carried: Sequence[AccountEntry] | None = None,
    signer: Signer = SIGNER,
    epoch: int = 2,
    cluster: str = "c",
    issued_at: int = 1000,
    acknowledged: int = 0,
) -> Delta:
    """A delta over ``entries``; where ``carried`` is given, only those travel."""
    settings = cluster_settings(cluster)
    digest = digest_of_all(settings, ((entry.account, entry.digest()) for entry in entries))
    root = Root(
        cluster=cluster,
        epoch=epoch,
        generation=generation,
        acknowledged=acknowledged,
        issued_at=issued_at,
        valid_until=issued_at + 10,
        digest=digest,
    )
    return Delta(
        root=signer.sign(root),
        settings=settings,
        full=carried is None,
        entries=tuple(entries if carried is None else carried),
        clock=issued_at,
    )


def accept(given: Delta, before: verify.DesiredState | None = None) -> verify.DesiredState:
    return verify.accept(before, given, "c", PINNED)


def test_a_full_state_and_then_what_changed() -> None:
    first = accept(delta([A, B]))
    changed = account("b", allocation("uid-b", 20, revision=2))
    second = accept(delta([A, changed, C], 6, carried=[changed, C]), first)
    assert second.entries == {"a": A, "b": changed, "c": C}
    assert second.generation == 6
    assert first.entries == {"a": A, "b": B}


def test_the_same_generation_may_be_signed_anew() -> None:
    first = accept(delta([A]))
    renewed = accept(delta([A], carried=[], issued_at=2000, acknowledged=5), first)
    assert renewed.signed.root.acknowledged == 5
    assert not renewed.is_expired(2010)
    assert renewed.is_expired(2011)


def tampered() -> Delta:
    given = delta([A])
    return given.model_copy(update={"root": given.root.model_copy(update={"signature": delta([B]).root.signature})})


def swapped() -> Delta:
    return delta([A]).model_copy(update={"entries": (account("a", allocation("uid-a", 99_999)),)})


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        (delta([A], 4), verify.Refused, "generation 4 is older than 5"),
        (delta([A, B], 9, epoch=1), verify.Refused, "term 1 is older than 2"),
        (delta([A]), verify.Refused, "came twice"),
        (delta([A, B], issued_at=900), verify.Refused, "signed before"),
        (delta([A], 6, signer=Signer.generate()), verify.Refused, "another key"),
        (tampered(), verify.Refused, "signature"),
        (delta([A], 6, cluster="other"), verify.Refused, "cluster other"),
        (swapped(), verify.Incomplete, "digest"),
        (delta([A, B, C], 6, carried=[]), verify.Incomplete, "digest"),
    ],
    ids=[
        "old",
        "old term",
        "twice",
        "signed before",
        "foreign key",
        "bad signature",
        "foreign cluster",
        "swapped",
        "incomplete",
    ],
)
def test_refusals(given: Delta, kind: type[Exception], words: str) -> None:
    before = accept(delta([A, B]))
    if words == "digest" and given.full:
        before = accept(delta([A], 4))
    with pytest.raises(kind, match=words):
        accept(given, before)


def test_what_is_on_disk_is_verified_again(tmp_path: Path) -> None:
    store = DesiredStore(tmp_path)
    assert store.load("c", PINNED) is None
    state = accept(delta([A, B]))
    store.save(state)
    assert store.load("c", PINNED) == state
    path = tmp_path / "desired.json"
    path.write_bytes(path.read_bytes().replace(b'"cpu":10', b'"cpu":99', 1))
    with pytest.raises(DamagedFile, match=r"desired\.json"):
        store.load("c", PINNED)
