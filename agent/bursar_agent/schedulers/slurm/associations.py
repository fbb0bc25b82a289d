"""What the database and slurmctld say about accounts: strict parsers of `sacctmgr list` and `sshare`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bursar_agent import qosnames
from bursar_agent.schedulers.base import AccountView, Reading, SchedulerUnavailable
from bursar_agent.schedulers.slurm import names, tres
from bursar_agent.schedulers.slurm.softland import Earlier
from bursar_domain.wire import ClusterSettings

ASSOCIATION_FIELDS: Final = (
    "Account",
    "User",
    "GrpTRESRunMins",
    "GrpTRES",
    "GrpJobs",
    "MaxSubmit",
    "Partition",
    "GrpSubmit",
    "QOS",
    "DefaultQOS",
)
SHARE_FIELDS: Final = ("Cluster", "Account", "User", "GrpTRESMins", "GrpTRESRaw", "TRESRunMins")
WIDE: Final = "%4000"


def association_arguments(cluster: str) -> tuple[str, ...]:
    """Arguments of sacctmgr for `parse_accounts`.

    Without limits of parents (`wopl`), since only what an association itself has is ours to compare; without their names
    (`wopi`), which cost slurmdbd a join over the whole tree: sshare shows the tree too.
    """
    columns = ",".join(f"{name}{WIDE}" for name in ASSOCIATION_FIELDS)
    return ("-nP", "list", "assoc", "wopl", "wopi", f"cluster={cluster}", f"format={columns}")


def description_arguments() -> tuple[str, ...]:
    """Arguments of sacctmgr for `parse_descriptions`; an account has one description on all clusters."""
    return ("-nP", "list", "account", f"format=Account{WIDE},Description{WIDE}")


def share_arguments() -> tuple[str, ...]:
    """Arguments of sshare for `parse_shares`."""
    return ("-a", "-P", "-n", "-o", ",".join(SHARE_FIELDS))


@dataclass(slots=True)
class AccountRow:
    """One account in the database. A member whose submissions are stopped is `blocked`, not a member.

    `own_qos`: users whose association has QOSes of its own.
    """

    account: str
    description: str
    run_minutes: Mapping[str, int]
    concurrent: Mapping[str, int]
    held: bool
    is_blocked: bool
    qos: Earlier
    members: set[str] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)
    own_qos: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ShareRow:
    """One account in slurmctld: parent, limit in force, counter and running remainder, all in TRES-minutes."""

    parent: str
    limits: Mapping[str, int]
    counters: Mapping[str, int]
    running: Mapping[str, int]


NOT_SHOWN: Final = ShareRow("", {}, {}, {})


def parse_descriptions(text: str) -> dict[str, str]:
    """Descriptions are free text of other people: a line break in one makes lines that name no account of ours."""
    pairs = (line.partition("|") for line in text.splitlines())
    return {account: description for account, separator, description in pairs if separator}


def parse_accounts(text: str, descriptions: Mapping[str, str]) -> dict[str, AccountRow]:
    """All accounts of the cluster; an answer without Slurm's root account is no answer."""
    rows: dict[str, AccountRow] = {}
    members: list[list[str]] = []
    for line in text.splitlines():
        values = line.split("|")
        if len(values) != len(ASSOCIATION_FIELDS):
            raise SchedulerUnavailable(f"sacctmgr's line {line!r} has {len(values)} fields, not {len(ASSOCIATION_FIELDS)}")
        if values[1]:
            members.append(values)
        elif not values[6]:
            rows[values[0]] = _account(values, descriptions.get(values[0], ""))
    if names.SLURM_ROOT not in rows:
        raise SchedulerUnavailable("sacctmgr listed no root account: the answer is not whole, or the cluster's name is wrong")
    for account, user, _, _, _, max_submit, _, _, qos, default_qos in members:
        if (row := rows.get(account)) is not None:
            (row.blocked if max_submit == "0" else row.members).add(user)
            if qos or default_qos:
                row.own_qos.add(user)
    return rows


def _account(values: list[str], description: str) -> AccountRow:
    account, _, run_minutes, concurrent, jobs, _, _, submit, qos, default_qos = values
    own = Earlier(tuple(name for name in qos.split(",") if name), default_qos)
    try:
        return AccountRow(
            account, description, tres.parse(run_minutes), tres.parse(concurrent), jobs == "0", submit == "0", own
        )
    except ValueError as error:
        raise SchedulerUnavailable(f"sacctmgr's row of account {account} can't be read: {error}") from error


def parse_shares(text: str, cluster: str) -> dict[str, ShareRow]:
    """Account rows of sshare, which shows the tree by one space for each level; another cluster's answer is refused."""
    rows: dict[str, ShareRow] = {}
    path: list[str] = []
    for line in text.splitlines():
        name, account, user, *amounts = _share_values(line)
        if name != cluster:
            raise SchedulerUnavailable(f"sshare answers for cluster {name}, not {cluster}: set SLURM_CONF to that of {cluster}")
        if user:
            continue
        depth = len(account) - len(account.lstrip(" "))
        path[depth:] = [account.strip()]
        if len(path) != depth + 1:
            raise SchedulerUnavailable(f"sshare shows account {account.strip()} below nothing: the answer is not whole")
        try:
            rows[path[-1]] = ShareRow(path[-2] if depth else "", *(tres.parse(amount) for amount in amounts))
        except ValueError as error:
            raise SchedulerUnavailable(f"sshare's row of account {path[-1]} can't be read: {error}") from error
    if names.SLURM_ROOT not in rows:
        raise SchedulerUnavailable("sshare listed no root account: the answer is not whole")
    return rows


def _share_values(line: str) -> list[str]:
    values = line.split("|")
    if len(values) != len(SHARE_FIELDS):
        raise SchedulerUnavailable(f"sshare's line {line!r} has {len(values)} fields, not {len(SHARE_FIELDS)}")
    return [values[0].strip(), values[1].rstrip(), *(value.strip() for value in values[2:])]


def view(settings: ClusterSettings, row: AccountRow, shares: Mapping[str, ShareRow], soft_land_qos: str = "") -> AccountView:
    """One account as the agent sees it: place and limits as slurmctld has them, everything else as the database has it."""
    share = shares.get(row.account, NOT_SHOWN)
    tracked = {resource.trackable for resource in settings.resources}
    wanted = tracked | share.limits.keys() | row.run_minutes.keys() | row.concurrent.keys()
    return AccountView(
        account=row.account,
        owned=names.is_mark(row.description) and _is_under(row.account, settings.root_account, shares),
        parent=share.parent,
        readings={name: _reading(name, row, share) for name in sorted(wanted)},
        members=frozenset(row.members),
        held=row.held,
        blocked=row.is_blocked,
        qos=soft_land_qos if soft_land_qos and row.qos.qos == (soft_land_qos,) else "",
        qos_list=qosnames.ordered(row.qos.qos, row.qos.default),
        own_qos=frozenset(row.own_qos),
    )


def _reading(name: str, row: AccountRow, share: ShareRow) -> Reading:
    return Reading(
        limit=share.limits.get(name),
        run_minutes_limit=row.run_minutes.get(name),
        counter=share.counters.get(name, 0),
        running=share.running.get(name, 0),
        concurrent_limit=row.concurrent.get(name),
    )


def _is_under(account: str, root_account: str, shares: Mapping[str, ShareRow]) -> bool:
    parent = shares.get(account, NOT_SHOWN).parent
    while parent:
        if parent == root_account:
            return True
        parent = shares[parent].parent
    return False
