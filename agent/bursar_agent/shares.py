"""What each of several ceilings of one account may still let run, so that together they never let more run. Pure.

Whichever QOS a job ran under, its use is put down to the allocations in their order. So jobs of one QOS can use up what is
left of another, and what they may still use is kept back there. Amounts are unit-seconds, in the order of charging.
"""

from collections.abc import Sequence


def shares(lefts: Sequence[int], running: Sequence[int], elsewhere: int = 0) -> list[int]:
    """Head-room by allocation: at most what it has left, together at most what all have left.

    ``running``: what jobs under its own QOS may still use; ``elsewhere``: what jobs of the account under none of these QOSes
    may. Nothing may start under one QOS that the jobs of another would use up first.
    """
    burden = elsewhere + sum(max(0, run - left) for left, run in zip(lefts, running, strict=True))
    free = _without([max(0, left - run) for left, run in zip(lefts, running, strict=True)], burden)
    rooms = [min(max(0, left), run) + more for left, run, more in zip(lefts, running, free, strict=True)]
    return _without(rooms, sum(rooms) - max(0, sum(lefts)))


def burdened(lefts: Sequence[int], amount: int) -> list[int]:
    """What is left where as much more was used and nobody knows when: together less by that, the first ones first."""
    rooms = _without([max(0, left) for left in lefts], amount)
    return [room + min(0, left) for room, left in zip(rooms, lefts, strict=True)]


def _without(amounts: Sequence[int], less: int) -> list[int]:
    """The amounts less so much, taken from the first ones first."""
    found = []
    for amount in amounts:
        taken = min(amount, max(0, less))
        less -= taken
        found.append(amount - taken)
    return found
