"""A scheduler's host whose agent is enrolled and heard a desired state, without any control plane."""

from bursar_agent import identity
from bursar_agent.desired import DesiredStore
from bursar_agent.settings import AgentSettings
from bursar_agent.verify import DesiredState
from bursar_domain import keys
from bursar_domain.keys import Signer
from bursar_domain.wire import AccountEntry, ClusterSettings, Root, digest_of_all

OPERATOR = Signer(bytes(31) + b"o")


def enrol(settings: AgentSettings) -> Signer:
    """Make the state directory with the agent's key, which is the answer."""
    settings.state_directory.mkdir(mode=0o700)
    identity.pin(settings.state_directory, settings.cluster, keys.fingerprint(OPERATOR.public_key))
    return identity.load_or_make_key(settings.state_directory)


def hears(settings: AgentSettings, cluster: ClusterSettings, *entries: AccountEntry) -> DesiredState:
    """A desired state was fetched and kept."""
    found = {entry.account: entry for entry in entries}
    digests = {name: entry.digest() for name, entry in found.items()}
    root = Root(
        cluster=settings.cluster,
        epoch=1,
        generation=1,
        acknowledged=0,
        issued_at=0,
        valid_until=2**40,
        digest=digest_of_all(cluster, digests.items()),
    )
    state = DesiredState(OPERATOR.sign(root), cluster, found, digests)
    DesiredStore(settings.state_directory).save(state)
    return state
