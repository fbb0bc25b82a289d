"""Limit mode QOS: one QOS for each allocation carries its ceiling, with a counter that never decays. Pure.

slurmctld alone knows such a counter (`scontrol show assoc_mgr`, limit(used)); the database knows which QOSes are ours, by
their description, and which of them an account may use.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from bursar_agent import qosnames
from bursar_agent.schedulers.base import AccountChange, QosChange, QosView, Reading, SchedulerUnavailable
from bursar_agent.schedulers.slurm import names, tres
from bursar_domain.ceiling import FLOOR, UNLIMITED
from bursar_domain.wire import ClusterSettings

NO_DECAY: Final = "NoDecay"
BULK_MARK: Final = "bursar:allocation"
"""Any mark says that a QOS is ours, its name whose. Where many are made at once they share this one, and so a command."""

_RECORD: Final = re.compile(r"^QOS=(?P<name>[^ (]+)\([0-9]+\) (?P<rest>.*)$")
_AMOUNT: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9._:/-]*)=(?P<limit>N|[0-9]+)\((?P<used>[0-9]+)(?:\.[0-9]+)?\)")
_FIELDS: Final = ("Name%100", "Description%200", "Flags%500")
Amounts = Mapping[str, tuple[int | None, int]]
_NOTHING: Final = (None, 0)
Arguments = tuple[str, ...]
Call = tuple[Arguments, list[str]]


def counter_arguments() -> Arguments:
    """Arguments of scontrol for `parse`."""
    return ("-o", "show", "assoc_mgr", "flags=qos")


def database_arguments() -> Arguments:
    """Arguments of sacctmgr for `parse_database`."""
    return ("-nP", "list", "qos", f"format={','.join(_FIELDS)}")


def parse_database(text: str) -> dict[str, bool]:
    """QOS of ours -> whether its counters never decay."""
    rows = (line.split("|") for line in text.splitlines())
    ours = (row for row in rows if len(row) == len(_FIELDS) and qosnames.is_ours(row[0]) and names.is_mark(row[1]))
    return {name: NO_DECAY in flags.split(",") for name, _, flags in ours}


def parse(text: str, ours: Mapping[str, bool]) -> dict[str, QosView]:
    """QOSes of ours as slurmctld has them; one that the database has and slurmctld does not yet is left out."""
    found = {}
    records = [match for line in text.splitlines() if (match := _RECORD.match(line))]
    if not records:
        raise SchedulerUnavailable("scontrol show assoc_mgr listed no QOS: the answer is not whole")
    for record in records:
        name = record["name"]
        if name in ours:
            fields = dict(word.partition("=")[::2] for word in record["rest"].split(" ") if "=" in word)
            found[name] = QosView(name, _readings(fields), ours[name])
    return found


def _readings(fields: Mapping[str, str]) -> dict[str, Reading]:
    minutes, running = _amounts(fields.get("GrpTRESMins", "")), _amounts(fields.get("GrpTRESRunMins", ""))
    return {
        name: _reading(minutes.get(name, _NOTHING), running.get(name, _NOTHING)) for name in minutes.keys() | running.keys()
    }


def _reading(minutes: tuple[int | None, int], running: tuple[int | None, int]) -> Reading:
    return Reading(limit=minutes[0], run_minutes_limit=running[0], counter=minutes[1], running=running[1])


def _amounts(text: str) -> Amounts:
    """`cpu=1000(37),mem=N(0)`: limit and what counts against it, by TRES; what has neither is left out, for most have."""
    found = {}
    for part in text.split(",") if text else ():
        if part.endswith("=N(0)"):
            continue
        match = _AMOUNT.fullmatch(part)
        if match is None:
            raise SchedulerUnavailable(f"scontrol's amount {part!r} is not name=limit(used)")
        found[match["name"]] = (None if match["limit"] == "N" else int(match["limit"]), int(match["used"]))
    return found


def phases(change: AccountChange) -> tuple[AccountChange, ...]:
    """The parts of a change, each of which is proven before the next is written: at no time may more run than is left.

    First what tightens, then what QOSes may do and which of them the account has, and last its own limits that come off.
    """
    if not (change.qoses or change.inherit_qos) and change.qos_list is None:
        return (change,)
    first = replace(
        change,
        limits=_limited(change.limits),
        run_minutes=_limited(change.run_minutes),
        held=change.held or None,
        blocked=change.blocked or None,
        qos=change.qos or None,
        qoses=tuple(item for item in change.qoses if item.tightens),
        qos_list=None,
    )
    then = AccountChange(
        change.account,
        qos="" if change.qos == "" else None,
        qoses=tuple(item for item in change.qoses if not item.tightens),
        qos_list=change.qos_list,
    )
    last = AccountChange(
        change.account,
        limits=_open(change.limits),
        run_minutes=_open(change.run_minutes),
        held=False if change.held is False else None,
        blocked=False if change.blocked is False else None,
    )
    return tuple(part for part in (first, then, last) if part != AccountChange(change.account))


def _limited(amounts: Mapping[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in amounts.items() if amount != UNLIMITED}


def _open(amounts: Mapping[str, int]) -> dict[str, int]:
    return {name: amount for name, amount in amounts.items() if amount == UNLIMITED}


def rounds(changes: Sequence[AccountChange]) -> list[list[AccountChange]]:
    """All first phases, all second ones, and so on."""
    split = [phases(change) for change in changes]
    count = max((len(each) for each in split), default=0)
    return [[each[number] for each in split if number < len(each)] for number in range(count)]


def births(settings: ClusterSettings, changes: Iterable[AccountChange], per_call: int) -> list[Call]:
    """Commands that make QOSes, with the accounts they are for: limit 1 first, so that nothing starts before the real one."""
    tracked = [resource.trackable for resource in settings.resources]
    first = f"GrpTRESMins={tres.render(dict.fromkeys(tracked, FLOOR))}"
    born = [(item, change.account) for change in changes for item in change.qoses if item.create]
    is_bulk = len({item.description for item, _ in born}) > names.MOST_MARKS
    groups: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for item, account in born:
        groups[BULK_MARK if is_bulk else item.description].append((item.name, account))
    return [
        (("add", "qos", f"name={joined}", f"description={mark}", f"Flags={NO_DECAY}", first), accounts)
        for mark, members in groups.items()
        for joined, accounts in _chunks(members, per_call)
    ]


def values(changes: Iterable[AccountChange], per_call: int) -> list[Call]:
    """Commands that write ceilings; equal ones go together."""
    groups: defaultdict[Arguments, list[tuple[str, str]]] = defaultdict(list)
    for change in changes:
        for item in change.qoses:
            if assignments := _assignments(item):
                groups[assignments].append((item.name, change.account))
    return [
        (("modify", "qos", "where", f"name={joined}", "set", *assignments), accounts)
        for assignments, members in groups.items()
        for joined, accounts in _chunks(members, per_call)
    ]


def _chunks(members: Sequence[tuple[str, str]], per_call: int) -> Iterable[tuple[str, list[str]]]:
    """Names as one argument takes them, and the accounts that they are for."""
    for start in range(0, len(members), per_call):
        chunk = sorted(members[start : start + per_call])
        yield ",".join(name for name, _ in chunk), sorted({account for _, account in chunk})


def _assignments(item: QosChange) -> Arguments:
    maps = {"GrpTRESMins": item.limits, "GrpTRESRunMins": item.run_minutes}
    flags = (f"Flags={NO_DECAY}",) if item.lasting and not item.create else ()
    return (*flags, *(f"{key}={tres.render(amounts)}" for key, amounts in maps.items() if amounts))
