"""How often strangers may ask: a token bucket per key, and no more keys than fit."""

from collections import OrderedDict
from typing import Final

MAX_KEYS: Final = 1_024


class Bucket:
    """``burst`` calls at once, then one per ``seconds``."""

    def __init__(self, burst: int, seconds: float) -> None:
        self._burst = burst
        self._seconds = seconds
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, key: str, now: float) -> float:
        """Take one call; 0 when it may go on, else the seconds until it may, and nothing is taken."""
        full_at = max(now, self._full_at.get(key, now)) + self._seconds
        over = full_at - now - self._burst * self._seconds
        if over > 1e-9:
            return over
        self._full_at[key] = full_at
        self._full_at.move_to_end(key)
        if len(self._full_at) > MAX_KEYS:
            self._full_at.popitem(last=False)
        return 0.0
