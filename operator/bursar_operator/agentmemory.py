"""What the agents said, in memory: their clocks, what they read back, how far their use is complete."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from bursar_domain.wire import AccountState
from bursar_ledger.agents import AgentRecord, ReadBack
from bursar_ledger.ledger import Ledger
from bursar_operator.domain import clusters


class AgentMemory:
    """Read once and again after each change."""

    def __init__(self, ledger: Ledger, patience: clusters.Patience, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._patience = patience
        self._now = now
        self._read_backs: dict[str, ReadBack] = {}
        self._agents: dict[str, AgentRecord] = {}
        self._states: dict[str, dict[str, AccountState]] = {}

    def cluster_time(self, cluster: str) -> int:
        """The cluster's clock as its agent's reports tell it; ours while there are none."""
        return self.known_time(cluster) or int(self._now().timestamp())

    def clusters(self) -> list[str]:
        """Clusters whose agents ever called."""
        return list(self._agents)

    def known_time(self, cluster: str) -> int | None:
        """The same, None while no agent ever said it."""
        agent = self._agents.get(cluster)
        return max(agent.scheduler_time, agent.watermark or 0) or None if agent is not None else None

    def ack(self, uid: str) -> int | None:
        """Revision that was read back from the scheduler."""
        found = self._read_backs.get(uid)
        return found.revision if found else None

    def enforced_at(self, uid: str) -> datetime | None:
        """When it was read back."""
        found = self._read_backs.get(uid)
        return datetime.fromtimestamp(found.at, UTC) if found and found.at else None

    def complete_until(self, cluster: str) -> datetime | None:
        """Usage watermark."""
        agent = self._agents.get(cluster)
        return datetime.fromtimestamp(agent.watermark, UTC) if agent and agent.watermark is not None else None

    def agent(self, cluster: str) -> AgentRecord | None:
        """The cluster's agent, if it ever called."""
        return self._agents.get(cluster)

    def states(self, cluster: str) -> Mapping[str, AccountState]:
        """What the agent saw of each account."""
        return self._states.get(cluster, {})

    async def refresh_agents(self) -> None:
        """Read the agents again."""
        self._agents = await self._ledger.agents()

    async def refresh_states(self, cluster: str) -> None:
        """Read again what the agent saw of each account."""
        self._states[cluster] = await self._ledger.account_states(cluster)

    async def refresh_acknowledgements(self, cluster: str) -> list[str]:
        """Read the read-backs again; the uids whose revision moved."""
        fresh = await self._ledger.read_backs(cluster)
        moved = [uid for uid, item in fresh.items() if self._read_backs.get(uid) != item]
        self._read_backs |= fresh
        return moved

    def _usage_stale(self, cluster: str) -> bool:
        agent = self._agents.get(cluster)
        if agent is None:
            return False
        silent = self._now().timestamp() - agent.last_seen
        late = max(0, agent.scheduler_time - (agent.watermark or 0)) if agent.watermark is not None else 0
        return silent > self._patience.usage_seconds or late > self._patience.usage_seconds
