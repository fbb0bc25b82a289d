"""Names of the QOSes that carry ceilings in limit mode QOS: one for each allocation, told by its name alone.

QOSes are one list for all clusters of a slurmdbd, so cluster, account and allocation all go into the name's last part; the
account is in front for people, who write the name behind `sbatch --qos`.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

NAME: Final = re.compile(r"bq-[a-z0-9-]{1,27}-[0-9a-f]{8}")
_LONGEST_ACCOUNT: Final = 27


def is_ours(name: str) -> bool:
    """Whether a QOS can be one that carries a ceiling."""
    return NAME.fullmatch(name) is not None


def name(cluster: str, account: str, uid: str) -> str:
    """The QOS of an allocation; ``cluster`` as the scheduler calls it."""
    tail = hashlib.sha256(f"{cluster}/{account}/{uid}".encode()).hexdigest()[:8]
    return f"bq-{account[:_LONGEST_ACCOUNT]}-{tail}"


def ordered(names: Iterable[str], default: str) -> tuple[str, ...]:
    """Which QOSes an account's jobs may have, as it is compared: the default first, the rest by name."""
    rest = sorted(name for name in names if name != default)
    return (default, *rest) if default else tuple(rest)
