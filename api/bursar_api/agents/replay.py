"""Tokens that were used: each identifier counts once while its token could still hold."""

from collections import OrderedDict, defaultdict
from http import HTTPStatus
from typing import Final

from bursar_api.agents.problems import Refused

MAX_PER_CLUSTER: Final = 20_000  # some 200 requests/s of one agent; beyond that it must wait


class ReplayCache:
    """Remembers identifiers per cluster until their tokens are past; only signed tokens get here: strangers can't fill it."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, OrderedDict[str, int]] = defaultdict(OrderedDict)

    def first(self, cluster: str, identifier: str, until: int, now: float) -> bool:
        """Whether the identifier is new; it is remembered until ``until``."""
        seen = self._seen[cluster]
        self._forget(seen, now)
        if identifier in seen:
            return False
        if len(seen) >= MAX_PER_CLUSTER:
            detail = f"cluster {cluster} sent {MAX_PER_CLUSTER} requests in a minute; slow down"
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS, detail, retry_after=5)
        seen[identifier] = until
        return True

    @staticmethod
    def _forget(seen: OrderedDict[str, int], now: float) -> None:
        """Drop from the front what is past; one that holds for longer than the next keeps it a little longer, never shorter."""
        while seen:
            identifier, until = next(iter(seen.items()))
            if until > now:
                return
            del seen[identifier]
