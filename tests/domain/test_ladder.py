"""The ladder: what counts as reached, on each basis; the strongest action in force; undone when the figure falls."""

import pytest

from bursar_domain.fold import WindowBooks
from bursar_domain.ladder import LADDER, Action, Basis, Rule, Standing, in_force, reached, strongest, used_percent

HOLD = Rule(100, Action.HOLD, 90)
NOTIFY = Rule(80, Action.NOTIFY)
PROJECTED = Rule(100, Action.THROTTLE, basis=Basis.PROJECTED)
COMMITTED = Rule(100, Action.SOFT_LAND, 95, Basis.COMMITTED)
RULES = (HOLD, NOTIFY, PROJECTED, COMMITTED)

REACHED = [
    ("one short", Standing(1000, 799), False),
    ("to the unit-second", Standing(1000, 800), True),
    ("a fraction short", Standing(1001, 800), False),
    ("no room, no use", Standing(0, 0), False),
    ("no room, any use", Standing(0, 1), True),
    ("more debt than hours, no use", Standing(-50, 0), False),
    ("more debt than hours, any use", Standing(-50, 1), True),
    ("corrections gave back more than was used", Standing(1000, -1), False),
]


@pytest.mark.parametrize(("standing", "expect"), [row[1:] for row in REACHED], ids=[row[0] for row in REACHED])
def test_eighty_percent_is_reached(standing: Standing, expect: bool) -> None:
    assert reached({"cpu": standing}, Basis.USED, 80) is expect


def test_one_resource_of_several_will_do() -> None:
    standings = {"cpu": Standing(100, 10), "gpu": Standing(10, 9)}
    assert reached(standings, Basis.USED, 90)
    assert not reached(standings, Basis.USED, 91)
    assert used_percent(standings) == 90
    assert used_percent({"cpu": Standing(0, 10)}) == used_percent({}) == 0


def test_the_three_bases_look_at_their_own_figure() -> None:
    found = Standing.of(WindowBooks(granted=90, carried=20, debt=10, used=50, overdraft=5), committed=20, projected=45)
    assert found == Standing(room=100, used=55, committed=75, projected=100)
    keys = in_force(RULES, {"cpu": found}, ())
    assert keys == {PROJECTED.key}
    assert in_force(RULES, {"cpu": Standing.of(WindowBooks(granted=100, used=55), 45)}, ()) == {COMMITTED.key}


def test_what_is_not_known_is_not_reached() -> None:
    """Nor does it stay in force on a figure that nobody knows."""
    unknown = {"cpu": Standing(100, 99, 99, None)}
    assert in_force([PROJECTED], unknown, ()) == in_force([PROJECTED], unknown, {PROJECTED.key}) == frozenset()


WALK = [
    ("below", 79, Action.NONE),
    ("a notice", 80, Action.NOTIFY),
    ("full", 100, Action.HOLD),
    ("a refund inside the hysteresis", 95, Action.HOLD),
    ("at the clearing percent", 90, Action.HOLD),
    ("below the clearing percent", 89, Action.NOTIFY),
    ("back inside: it does not fire again", 99, Action.NOTIFY),
    ("full again", 100, Action.HOLD),
    ("a top-up", 40, Action.NONE),
]


def test_undone_when_the_figure_falls_far_enough() -> None:
    keys: frozenset[str] = frozenset()
    for name, used, expect in WALK:
        keys = in_force([HOLD, NOTIFY], {"cpu": Standing(100, used)}, keys)
        assert strongest([HOLD, NOTIFY], keys) is expect, name


def test_a_top_up_and_a_roll_over_undo_too() -> None:
    keys = in_force([HOLD], {"cpu": Standing(100, 100)}, ())
    assert in_force([HOLD], {"cpu": Standing(200, 100)}, keys) == frozenset()
    assert in_force([HOLD], {"cpu": Standing(100, 0)}, keys) == frozenset()


@pytest.mark.parametrize("weaker", range(len(LADDER)))
def test_the_strongest_wins_whatever_the_order(weaker: int) -> None:
    for stronger in range(weaker, len(LADDER)):
        rules = [Rule(1, LADDER[weaker]), Rule(2, LADDER[stronger])]
        keys = {rule.key for rule in rules}
        assert strongest(rules, keys) is strongest(rules[::-1], keys) is LADDER[stronger]
    assert strongest(RULES, ()) is Action.NONE


def test_the_ladder_is_that_of_the_design() -> None:
    assert [str(action) for action in LADDER] == ["None", "Notify", "Throttle", "SoftLand", "Hold", "Block"]


def test_rules_are_told_apart() -> None:
    rules = [Rule(p, a, basis=b) for p in (80, 90) for a in Action for b in Basis]
    assert len({rule.key for rule in rules}) == len(rules)
