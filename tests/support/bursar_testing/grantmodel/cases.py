"""The settings that are explored: QUICK in every run of the tests, LARGE by ``python -m bursar_testing.grantmodel --all``."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from bursar_testing.grantmodel.setting import Setting

MOST: Final = 300_000
"""States of a large setting that are visited at most."""

ROOT_AND_LEAF: Final = Setting(parents=(None, 0), pool_of=(1,), limits=((2,), (2,)), lost=0)
TWO_LEAVES: Final = Setting(parents=(None, 0, 0), pool_of=(1, 2), limits=((3,), (2,), (2,)), wants=((2,),), lost=0, takeovers=0)
THREE_LEVELS: Final = Setting(parents=(None, 0, 1), pool_of=(2,), limits=((2,), (2,), (1,)), takeovers=0)
RACE: Final = Setting(pool_of=(0, 0), limits=((3,),), wants=((1,), (2,)), users=3, takeovers=0, lost=0)
VECTORS: Final = Setting(limits=((2, 1),), wants=((1, 1), (2, 0)), lost=0)
CAPPED: Final = Setting(pool_of=(0, 0), limits=((4,),), caps=((0, (2,)),), wants=((1,), (2,)), users=3, takeovers=0, lost=0)
TORN: Final = Setting(torn=1, uses=1, wants=((2,),), leaders=1, takeovers=0)

QUICK: Final[Mapping[str, Setting]] = {
    "lost answers and a take-over": Setting(),
    "a write under way and a take-over": Setting(slow=1, lost=0),
    "late and old acknowledgements of use": Setting(late=True, uses=1, lost=0),
    "jobs that may still use hours": Setting(jobs=1, uses=1, users=3, takeovers=0, lost=0),
    "two resources": VECTORS,
    "root and leaf": ROOT_AND_LEAF,
    "two pools below a root": TWO_LEAVES,
    "three levels": THREE_LEVELS,
    "a race for one pool": RACE,
    "a limit that is lowered": Setting(limited=((0, (1,)),), wants=((2,),), lost=0),
    "finalizers that nobody stamped": Setting(stamped=False, lost=0),
    "pools that nobody has counted yet": Setting(fresh=True, lost=0),
    "what one project may hold": CAPPED,
    "names used again, torn away": Setting(torn=1, lives=2, leaders=1, lost=0),
    "torn away with use": TORN,
    "torn away below a root": Setting(
        parents=(None, 0), pool_of=(1,), limits=((2,), (2,)), wants=((2,),), torn=1, uses=1, leaders=1, takeovers=0
    ),
    "an allocation's status edited": Setting(edits=1, leaders=1, lost=0),
    "a pool's status edited": Setting(pool_edits=1, leaders=1, takeovers=0),
}

TORN_AMID_DELETION: Final = replace(TORN, takeovers=1, lost=0)
"""Torn away after its deletion was published, while nobody led: nobody knows of the hours that it used."""

EDITED_WHILE_NOBODY_LEADS: Final = Setting(pool_edits=1, pool_of=(0, 0), wants=((2,),), users=3, leaders=1, takeovers=1, lost=0)
"""A pool's status emptied that no leader remembers: what is charged is listed before anything is granted."""

SPENT_WHILE_NOBODY_LEADS: Final = Setting(pool_edits=1, lives=2, uses=1, wants=((2,),), users=3, leaders=1, takeovers=1, lost=0)
"""The same after hours were used: what a pool has spent stands nowhere else."""

EDITED_AFTER_USE: Final = Setting(edits=1, uses=1, wants=((1,),), leaders=1, takeovers=0, lost=0)
"""An allocation's status wiped after hours were used: until it is charged again, a recount knows nothing of them."""

LARGE: Final[Mapping[str, Setting]] = {
    "one pool, names used again": Setting(users=3, lives=2, lost=9),
    "one pool, three changes": Setting(users=3, lost=1),
    "one pool, a write under way and lost answers": Setting(slow=1, lost=1, users=2),
    "one pool, two take-overs": Setting(takeovers=2, wants=((1,),)),
    "one pool, three leaders": Setting(takeovers=2, leaders=3, wants=((1,),), lost=0),
    "use, late acknowledgements, names used again": Setting(late=True, uses=1, lives=2, users=3, wants=((2,),), lost=0),
    "two race for a pool over a take-over": Setting(pool_of=(0, 0), limits=((3,),), wants=((2,),)),
    "two race, raise and lower over a take-over": Setting(pool_of=(0, 0), limits=((3,),), users=2, lost=0),
    "three race for a pool": Setting(pool_of=(0, 0, 0), limits=((3,),), wants=((2,),), users=3, takeovers=0),
    "two resources, two race": Setting(
        pool_of=(0, 0), limits=((2, 1),), wants=((1, 1), (2, 0)), users=3, takeovers=0, uses=1, lost=0
    ),
    "root and leaf, lost answers": Setting(parents=(None, 0), pool_of=(1,), limits=((2,), (2,))),
    "root and leaf, a write under way": Setting(parents=(None, 0), pool_of=(1,), limits=((2,), (2,)), slow=1, lost=0),
    "root and leaf, two take-overs": Setting(
        parents=(None, 0), pool_of=(1,), limits=((2,), (2,)), wants=((1,),), users=2, takeovers=2, lost=0
    ),
    "root and leaf, limits lowered": Setting(
        parents=(None, 0), pool_of=(1,), limits=((2,), (2,)), limited=((0, (1,)), (1, (0,))), takeovers=0
    ),
    "root and a leaf that refuses": Setting(
        parents=(None, 0), pool_of=(1, 1), limits=((4,), (2,)), wants=((2,),), users=3, takeovers=0
    ),
    "root, two leaves, a take-over": Setting(
        parents=(None, 0, 0), pool_of=(1, 2), limits=((3,), (2,), (2,)), wants=((2,),), lost=0
    ),
    "three levels, a take-over and lost answers": Setting(
        parents=(None, 0, 1), pool_of=(2,), limits=((2,), (2,), (1,)), users=2
    ),
    "three levels, two leaves": Setting(
        parents=(None, 0, 1, 1), pool_of=(2, 3), limits=((3,), (3,), (2,), (2,)), wants=((2,),), takeovers=0
    ),
    "what one project may hold, over a take-over": Setting(
        pool_of=(0, 0), limits=((4,),), caps=((0, (2,)),), wants=((1,), (2,)), uses=1, lost=0
    ),
    "torn away, lost answers, a write under way": Setting(torn=1, uses=1, wants=((2,),), leaders=1, takeovers=0, slow=1),
    "torn away, a take-over": Setting(torn=1, lives=2, users=3, leaders=1, slow=1, lost=0),
    "an allocation's status edited, a write under way": Setting(edits=1, leaders=1, slow=1),
    "an allocation's status edited below a root": Setting(
        parents=(None, 0), pool_of=(1,), limits=((2,), (2,)), edits=1, leaders=1, takeovers=0
    ),
    "a pool's status edited below a root": Setting(
        parents=(None, 0), pool_of=(1,), limits=((2,), (2,)), pool_edits=1, leaders=1, takeovers=0, slow=1
    ),
    "pools that nobody has counted yet, lost answers": Setting(fresh=True, users=2),
}
