"""What the database and slurmctld say about accounts: strict parsers of `sacctmgr list account withassoc` and `sshare`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bursar_agent.schedulers.base import AccountView, Reading, SchedulerUnavailable
from bursar_agent.schedulers.slurm import names, tres
from bursar_domain.wire import ClusterSettings

# Description last: it is free text of other people and may hold the separator.
ACCOUNT_FIELDS: Final = (
    "Account",
    "User",
    "ParentName",
    "GrpTRESRunMins",
    "GrpTRES",
    "GrpJobs",
    "MaxSubmit",
    "Partition",
    "Description",
)
SHARE_FIELDS: Final = ("Cluster", "Account", "User", "GrpTRESMins", "GrpTRESRaw", "TRESRunMins")
WIDE: Final = "%4000"


def list_arguments(cluster: str) -> tuple[str, ...]:
    """Arguments of sacctmgr for `parse_accounts`."""
    columns = ",".join(f"{name}{WIDE}" for name in ACCOUNT_FIELDS)
    return ("-nP", "list", "account", "withassoc", "where", f"cluster={cluster}", f"format={columns}")


def share_arguments() -> tuple[str, ...]:
    """Arguments of sshare for `parse_shares`."""
    return ("-a", "-P", "-n", "-o", ",".join(SHARE_FIELDS))


@dataclass(slots=True)
class AccountRow:
    """One account in the database. A member whose submissions are stopped is `blocked`, not a member."""

    account: str
    parent: str
    description: str
    run_minutes: Mapping[str, int]
    concurrent: Mapping[str, int]
    held: bool
    members: set[str] = field(default_factory=set)
    blocked: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class ShareRow:
    """One account in slurmctld: limit in force, counter and running remainder, all in TRES-minutes."""

    limits: Mapping[str, int]
    counters: Mapping[str, int]
    running: Mapping[str, int]


def parse_accounts(text: str) -> dict[str, AccountRow]:
    """All accounts of the cluster; an answer without Slurm's root account is no answer."""
    rows: dict[str, AccountRow] = {}
    members: list[list[str]] = []
    for line in text.splitlines():
        values = line.split("|", len(ACCOUNT_FIELDS) - 1)
        if len(values) != len(ACCOUNT_FIELDS):
            continue  # the rest of a description with a line break; ours never have one
        if values[1]:
            members.append(values)
        elif not values[7]:
            rows[values[0]] = _account(values)
    if names.SLURM_ROOT not in rows:
        raise SchedulerUnavailable("sacctmgr listed no root account: the answer is not whole, or the cluster's name is wrong")
    for account, user, _, _, _, _, max_submit, *_ in members:
        if (row := rows.get(account)) is not None:
            (row.blocked if max_submit == "0" else row.members).add(user)
    return rows


def _account(values: list[str]) -> AccountRow:
    account, _, parent, run_minutes, concurrent, jobs, _, _, description = values
    try:
        return AccountRow(account, parent, description, tres.parse(run_minutes), tres.parse(concurrent), jobs == "0")
    except ValueError as error:
        raise SchedulerUnavailable(f"sacctmgr's row of account {account} can't be read: {error}") from error


def parse_shares(text: str, cluster: str) -> dict[str, ShareRow]:
    """Account rows of sshare, which indents names to show the tree; another cluster's answer is refused."""
    rows: dict[str, ShareRow] = {}
    for line in text.splitlines():
        values = [value.strip() for value in line.split("|")]
        if len(values) != len(SHARE_FIELDS):
            raise SchedulerUnavailable(f"sshare's line {line!r} has {len(values)} fields, not {len(SHARE_FIELDS)}")
        name, account, user, *amounts = values
        if name != cluster:
            raise SchedulerUnavailable(f"sshare answers for cluster {name}, not {cluster}: set SLURM_CONF to that of {cluster}")
        if user:
            continue
        try:
            rows[account] = ShareRow(*(tres.parse(amount) for amount in amounts))
        except ValueError as error:
            raise SchedulerUnavailable(f"sshare's row of account {account} can't be read: {error}") from error
    if names.SLURM_ROOT not in rows:
        raise SchedulerUnavailable("sshare listed no root account: the answer is not whole")
    return rows


def view(settings: ClusterSettings, row: AccountRow, share: ShareRow | None, rows: Mapping[str, AccountRow]) -> AccountView:
    """One account as the agent sees it: limits as slurmctld has them, everything else as the database has it."""
    share = share or ShareRow({}, {}, {})
    tracked = {resource.trackable for resource in settings.resources}
    wanted = tracked | share.limits.keys() | row.run_minutes.keys() | row.concurrent.keys()
    return AccountView(
        account=row.account,
        owned=names.is_mark(row.description) and _is_under(row, settings.root_account, rows),
        parent=row.parent,
        readings={name: _reading(name, row, share) for name in sorted(wanted)},
        members=frozenset(row.members),
        held=row.held,
    )


def _reading(name: str, row: AccountRow, share: ShareRow) -> Reading:
    return Reading(
        limit=share.limits.get(name),
        run_minutes_limit=row.run_minutes.get(name),
        counter=share.counters.get(name, 0),
        running=share.running.get(name, 0),
        concurrent_limit=row.concurrent.get(name),
    )


def _is_under(row: AccountRow, root_account: str, rows: Mapping[str, AccountRow]) -> bool:
    parent, seen = row.parent, {row.account}
    while parent and parent not in seen:
        if parent == root_account:
            return True
        seen.add(parent)
        parent = rows[parent].parent if parent in rows else ""
    return False
