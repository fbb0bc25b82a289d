"""Where nobody watched a counter since records ended (the agent was restarted, say): what it may have been then. Pure.

The limit as it was last written bounds what was left, for the counter counts everything since. Where it can't tell, because
another window runs now or nothing was ever proven, the machine may have worked for this account alone ever since. Nor can it
where QOSes carry the limits: what was kept back in one for jobs of another is known no more.
"""

from dataclasses import dataclass

from bursar_agent import grants
from bursar_agent.grants import Charged
from bursar_agent.memory import AccountMemory
from bursar_domain.ceiling import UNLIMITED, Sample
from bursar_domain.units import MINUTE
from bursar_domain.wire import TrackedResource


@dataclass(frozen=True, slots=True)
class Unwatched:
    """One account whose first sample is younger than the watermark. ``is_new``: it is not there yet.

    ``has_qoses``: in limit mode QOS.
    """

    charged: Charged
    memory: AccountMemory
    watermark: int
    is_new: bool = False
    in_doubt: bool = False
    has_qoses: bool = False


def anchor(account: Unwatched, resource: TrackedResource, first: Sample, known_after: int) -> Sample:
    """A sample at the watermark, as low as it can have been; ``known_after``: use that records show since, unit-seconds."""
    if account.is_new:
        return Sample(account.watermark, first.minutes)
    grown = _unseen(account, resource, first) + known_after
    return Sample(account.watermark, first.minutes - -(-grown // MINUTE))


def _unseen(account: Unwatched, resource: TrackedResource, first: Sample) -> int:
    """Unit-seconds at most that were used since and that no record shows."""
    memory, written = account.memory, account.memory.limits.get(resource.trackable)
    windows = {terms.uid: grants.known(terms, first.at) for terms in account.charged.grants.active(first.at)}
    has_rolled = memory.starts() != {uid: window.start for uid, window in windows.items()}
    if written is None or written == UNLIMITED or account.has_qoses or account.in_doubt or has_rolled:
        return resource.capacity * (first.at - account.watermark)
    given = grants.total(windows).get(resource.name, 0) - memory.room.get(resource.name, 0)
    left = account.charged.left(first.at, resource.name, account.watermark) - given
    return max(0, left - MINUTE * (written - first.minutes))
