"""Limit mode QOS: one QOS for each allocation carries its ceiling, with a counter that never decays. Pure.

slurmctld alone knows such a counter (`scontrol show assoc_mgr`, limit(used)); the database knows which QOSes are ours, by
their description, and which of them an account may use.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from bursar_agent.schedulers.base import AccountChange, QosChange, QosView, Reading, SchedulerUnavailable
from bursar_agent.schedulers.slurm import names, tres
from bursar_domain.wire import ClusterSettings

NO_DECAY: Final = "NoDecay"
FIRST_LIMIT: Final = 1
NO_LIMIT: Final = -1
NAME: Final = re.compile(r"bq-[a-z0-9-]{1,37}")
_RECORD: Final = re.compile(r"^QOS=(?P<name>[^ (]+)\([0-9]+\) (?P<rest>.*)$")
_AMOUNT: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9._:/-]*)=(?P<limit>N|[0-9]+)\((?P<used>[0-9]+)(?:\.[0-9]+)?\)")
Amounts = Mapping[str, tuple[int | None, int]]
Arguments = tuple[str, ...]


def is_name(name: str) -> bool:
    """Whether a QOS can be one of ours."""
    return NAME.fullmatch(name) is not None


def counter_arguments() -> Arguments:
    """Arguments of scontrol for `parse`."""
    return ("-o", "show", "assoc_mgr", "flags=qos")


def database_arguments() -> Arguments:
    """Arguments of sacctmgr for `parse_database`."""
    return ("-nP", "list", "qos", "format=Name%100,Description%200,Flags%500")


def list_arguments(cluster: str) -> Arguments:
    """Arguments of sacctmgr for `parse_lists`: what each account itself may use, parents left out."""
    return ("-nP", "list", "assoc", "wopl", "wopi", f"cluster={cluster}", "format=Account%100,User%100,QOS%4000,DefaultQOS%100")


def parse_database(text: str) -> dict[str, bool]:
    """QOS of ours -> whether its counters never decay."""
    rows = (line.split("|") for line in text.splitlines())
    return {
        row[0]: NO_DECAY in row[2].split(",") for row in rows if len(row) == 3 and is_name(row[0]) and names.is_mark(row[1])
    }


def parse_lists(text: str) -> dict[str, tuple[str, ...]]:
    """Account -> QOSes that it may use, the default first."""
    found: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        values = line.split("|")
        if len(values) != 4:
            raise SchedulerUnavailable(f"sacctmgr's line {line!r} has {len(values)} fields, not 4")
        account, user, listed, default = values
        if not user:
            every = [name for name in listed.split(",") if name]
            found[account] = tuple(sorted(every, key=lambda name: (name != default, name)))
    return found


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
        name: Reading(
            limit=limit,
            run_minutes_limit=running.get(name, (None, 0))[0],
            counter=used,
            running=running.get(name, (None, 0))[1],
        )
        for name, (limit, used) in minutes.items()
    }


def _amounts(text: str) -> Amounts:
    """`cpu=1000(37),mem=N(0)`: limit and what counts against it, by TRES."""
    found = {}
    for part in text.split(",") if text else ():
        match = _AMOUNT.fullmatch(part)
        if match is None:
            raise SchedulerUnavailable(f"scontrol's amount {part!r} is not name=limit(used)")
        found[match["name"]] = (None if match["limit"] == "N" else int(match["limit"]), int(match["used"]))
    return found


def check(change: AccountChange) -> str:
    """Why the QOSes of a change may not reach Slurm, or ""."""
    wanted = {item.name for item in change.qoses} | set(change.qos_list or ())
    if bad := sorted(name for name in wanted if not is_name(name)):
        return f"QOS {bad[0]!r} is no name of ours"
    if bad := sorted(item.name for item in change.qoses if item.create and not names.is_mark(item.description)):
        return f"QOS {bad[0]}: it is made with a description that marks it as ours"
    return ""


def births(settings: ClusterSettings, changes: Iterable[AccountChange]) -> list[tuple[Arguments, str]]:
    """Commands that make QOSes, with the account each is for: limit 1 first, so that nothing starts before the real one."""
    tracked = [resource.trackable for resource in settings.resources]
    first = f"GrpTRESMins={tres.render(dict.fromkeys(tracked, FIRST_LIMIT))}"
    return [
        (("add", "qos", f"name={item.name}", f"description={item.description}", f"Flags={NO_DECAY}", first), change.account)
        for change in changes
        for item in change.qoses
        if item.create
    ]


def values(changes: Iterable[AccountChange]) -> list[tuple[Arguments, tuple[str, ...]]]:
    """Commands that write ceilings; equal ones go together."""
    groups: defaultdict[Arguments, list[tuple[str, str]]] = defaultdict(list)
    for change in changes:
        for item in change.qoses:
            if assignments := _assignments(item):
                groups[assignments].append((item.name, change.account))
    return [
        (
            ("modify", "qos", "where", f"name={','.join(sorted(name for name, _ in members))}", "set", *assignments),
            tuple(sorted({account for _, account in members})),
        )
        for assignments, members in groups.items()
    ]


def _assignments(item: QosChange) -> Arguments:
    maps = {"GrpTRESMins": item.limits, "GrpTRESRunMins": item.run_minutes}
    return tuple(f"{key}={tres.render(amounts)}" for key, amounts in maps.items() if amounts)


def lists(settings: ClusterSettings, changes: Iterable[AccountChange]) -> list[tuple[Arguments, str]]:
    """Commands that say which QOSes an account's jobs may have; members inherit it."""
    return [
        (
            (
                "modify",
                "account",
                "where",
                f"name={change.account}",
                f"cluster={settings.scheduler_name}",
                "set",
                f"QOS={','.join(change.qos_list)}",
                f"DefaultQOS={change.qos_list[0]}",
            ),
            change.account,
        )
        for change in changes
        if change.qos_list
    ]


def unproven(change: AccountChange, seen: Mapping[str, QosView], listed: Sequence[str]) -> str:
    """The first thing that Slurm shows otherwise, or ""."""
    for item in change.qoses:
        view = seen.get(item.name)
        if view is None:
            return f"QOS {item.name} is not there"
        if not view.is_lasting:
            return f"QOS {item.name} lacks the flag {NO_DECAY}"
        for amounts, what in ((item.limits, "limit"), (item.run_minutes, "run_minutes_limit")):
            for name, amount in amounts.items():
                shown = getattr(view.readings.get(name, Reading()), what)
                if shown != (None if amount == NO_LIMIT else amount):
                    return f"{what} of {name} on QOS {item.name} is {shown}, not {amount}"
    if change.qos_list is not None and set(change.qos_list) != set(listed):
        return f"its QOSes are {', '.join(listed) or 'inherited'}, not {', '.join(change.qos_list)}"
    return ""
