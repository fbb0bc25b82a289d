"""Whether a desired state may be used: signed by the pinned key, not older than what we have, and whole. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bursar_domain import keys
from bursar_domain.wire import AccountEntry, ClusterSettings, Delta, SignedRoot, digest_of_all


class Refused(Exception):
    """A desired state that may not be used; what was verified before stays in force."""


class Incomplete(Refused):
    """The digest does not match after the changes were applied: ask for everything."""


@dataclass(frozen=True, slots=True)
class DesiredState:
    """A verified desired state of one cluster."""

    signed: SignedRoot
    settings: ClusterSettings
    entries: Mapping[str, AccountEntry] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def generation(self) -> int:
        """Number of the state."""
        return self.signed.root.generation

    def is_expired(self, now: int) -> bool:
        """Whether only what tightens may still be done; ``now`` is wall clock."""
        return now > self.signed.root.valid_until

    def dump(self) -> Delta:
        """The state as one full delta, to keep it on disk in the form that can be verified again."""
        entries = tuple(self.entries[name] for name in sorted(self.entries))
        return Delta(root=self.signed, settings=self.settings, full=True, entries=entries, clock=self.signed.root.issued_at)


def accept(before: DesiredState | None, delta: Delta, cluster: str, fingerprint: str) -> DesiredState:
    """The state after this delta; Refused says why it may not be used, Incomplete that everything must be fetched."""
    try:
        root = keys.verify(delta.root, fingerprint)
    except keys.BadSignature as error:
        raise Refused(str(error)) from error
    if root.cluster != cluster or delta.settings.cluster != cluster:
        raise Refused(f"this is the desired state of cluster {root.cluster}, and we are {cluster}; nothing of it was used")
    if before is not None:
        _check_order(before, delta)
    entries, digests = _applied(before, delta)
    if digest_of_all(delta.settings, digests.items()) != root.digest:
        raise Incomplete(f"generation {root.generation} is not whole: its digest does not match; everything is fetched again")
    return DesiredState(delta.root, delta.settings, entries, digests)


def _check_order(before: DesiredState, delta: Delta) -> None:
    old, new = before.signed.root, delta.root.root
    if new.epoch < old.epoch:
        raise Refused(f"leader's term {new.epoch} is older than {old.epoch}: an old state was put back; ours stays in force")
    if new.generation < old.generation:
        raise Refused(f"generation {new.generation} is older than {old.generation}, which is in force; it was not used")
    if new.generation == old.generation and new.digest != old.digest:
        raise Refused(f"generation {new.generation} came twice with different contents; the first one stays in force")
    if new.issued_at < old.issued_at or new.acknowledged < old.acknowledged:
        raise Refused(f"generation {new.generation} was signed before the one in force; it was not used")


def _applied(before: DesiredState | None, delta: Delta) -> tuple[dict[str, AccountEntry], dict[str, str]]:
    is_fresh = delta.full or before is None
    entries = {} if is_fresh or before is None else dict(before.entries)
    digests = {} if is_fresh or before is None else dict(before.digests)
    for entry in delta.entries:
        entries[entry.account], digests[entry.account] = entry, entry.digest()
    return entries, digests
