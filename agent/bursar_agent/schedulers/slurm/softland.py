"""An account is confined to one QOS (SoftLand) or to those of its allocations (limit mode QOS), and gets back what it had.

What that was outlasts the agent.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import orjson

from bursar_agent import files, qosnames
from bursar_agent.schedulers.base import AccountChange

INHERITED: Final = ""
NO_DEFAULT: Final = "-1"
FLAG: Final = "UsageFactorSafe"
_FACTOR: Final = "UsageFactor"


class QosRow(NamedTuple):
    """What a QOS must have that SoftLand can use it; see `arguments`."""

    name: str
    factor: str
    flags: str

    @property
    def lack(self) -> str:
        """Why SoftLand can't use it, or ""."""
        if not self.factor or self.factor.strip("0."):
            return f"{_FACTOR} {self.factor or 'unset'}, not 0"
        return "" if FLAG in self.flags.split(",") else f"no flag {FLAG}"


class Earlier(NamedTuple):
    """QOSes of an account itself; none where it inherits them from its parent."""

    qos: tuple[str, ...] = ()
    default: str = ""


def arguments() -> tuple[str, ...]:
    """Arguments of sacctmgr for `is_fit`."""
    return ("-nP", "list", "qos", "format=Name%100,UsageFactor,Flags%500")


def is_fit(text: str, name: str) -> bool:
    """Whether a QOS is there whose jobs cost nothing and start though the ceiling is reached."""
    rows = (QosRow(*line.split("|")) for line in text.splitlines() if line.count("|") == 2)
    return any(row.name == name and not row.lack for row in rows)


def assignments(change: AccountChange, earlier: Mapping[str, Earlier]) -> tuple[str, ...]:
    """What `sacctmgr modify account … set` takes: the one QOS, those of its allocations, or those from before."""
    if not (is_confined(change) or gives_back(change)):
        return ()
    if listed := (change.qos,) if change.qos else change.qos_list:
        return f"QOS={','.join(listed)}", f"DefaultQOS={listed[0]}"
    before = earlier.get(change.account, Earlier())
    return f"QOS={','.join(before.qos) or INHERITED}", f"DefaultQOS={before.default or NO_DEFAULT}"


def is_confined(change: AccountChange) -> bool:
    """Whether the account's jobs may have certain QOSes of our choice from now on."""
    return bool(change.qos or change.qos_list)


def gives_back(change: AccountChange) -> bool:
    """Whether they may have those from before again."""
    return not is_confined(change) and (change.qos is not None or change.qos_list is not None)


class SoftLandings:
    """Accounts that are confined, and the QOSes that each had; one file of the agent's state directory."""

    def __init__(self, directory: Path) -> None:
        """Read what an earlier run left."""
        self._path = directory / "soft-landings.json"
        self.earlier = _load(self._path)

    def note(self, changes: Iterable[AccountChange], present: Mapping[str, Earlier]) -> None:
        """Remember, before it is written, what accounts have that are to be confined; those who are already keep theirs."""
        new = {item.account: item.qos or "" for item in changes if is_confined(item) and item.account not in self.earlier}
        if new:
            self._keep({**self.earlier, **{name: _own(present.get(name, Earlier()), qos) for name, qos in new.items()}})

    def forget(self, accounts: Iterable[str]) -> None:
        """These have back what was theirs."""
        gone = self.earlier.keys() & set(accounts)
        if gone:
            self._keep({name: before for name, before in self.earlier.items() if name not in gone})

    def _keep(self, earlier: Mapping[str, Earlier]) -> None:
        files.replace(self._path, orjson.dumps({name: list(before) for name, before in earlier.items()}))
        self.earlier = dict(earlier)


def _own(present: Earlier, qos: str) -> Earlier:
    """One that is confined already, by an agent whose memory was lost, goes back to what it inherits."""
    is_ours = present.qos == (qos,) or any(qosnames.is_ours(name) for name in present.qos)
    return Earlier() if is_ours else present


def _load(path: Path) -> dict[str, Earlier]:
    try:
        found = orjson.loads(path.read_bytes())
        return {str(name): Earlier(tuple(map(str, qos)), str(default)) for name, (qos, default) in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        raise files.DamagedFile(
            f"{path} can't be read ({error}): restore it, or remove it, and accounts in SoftLand go back to inherited QOSes"
        ) from error
