"""Changes to `sacctmgr` arguments, grouped by equal effect so that one call serves up to 200 accounts. Pure."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.slurm import names, qos, softland, tres
from bursar_agent.schedulers.slurm.softland import Earlier
from bursar_domain.ceiling import FLOOR, UNLIMITED
from bursar_domain.wire import ClusterSettings

ORGANIZATION = "bursar"
BULK_MARK = "bursar:project"
"""Any mark says that an account is ours. Where many are made at once they share this one, and so a command."""

Key = TypeVar("Key", bound=Hashable)
Stage = tuple["Write", ...]


@dataclass(frozen=True, slots=True)
class Write:
    """Arguments of one `sacctmgr -i`, and the accounts whose changes it carries."""

    arguments: tuple[str, ...]
    accounts: frozenset[str]

    @property
    def is_addition(self) -> bool:
        """Whether it makes associations."""
        return self.arguments[0] == "add"


def stages(
    settings: ClusterSettings,
    changes: Sequence[AccountChange],
    *,
    names_per_call: int,
    blocked: Mapping[str, frozenset[str]],
    default_accounts: Mapping[str, str],
    earlier: Mapping[str, Earlier],
) -> tuple[Stage, ...]:
    """What to run, stage after stage; the writes of one stage touch different accounts.

    Those that only modify may run side by side. Additions may not: two at once move the same tree, and slurmdbd drops one
    (seen on 22.05).

    The root account comes first, then new accounts and QOSes (with limit 1), members, what QOSes limit, holds, limits, and last
    the members who leave.
    `blocked` has the users of an account whom an earlier change stopped; `default_accounts` where a leaver's default goes;
    `earlier` the QOSes that a confined account gets back.
    """
    root = [change for change in changes if change.account == settings.root_account]
    others = [change for change in changes if change.account != settings.root_account]
    planner = _Planner(
        settings.scheduler_name, [resource.trackable for resource in settings.resources], names_per_call, earlier
    )
    holds = [change for change in others if change.held or change.blocked or change.qos]
    rest = [change for change in others if not (change.held or change.blocked or change.qos)]
    planned = (
        planner.root(root),
        planner.values(root),
        planner.creates(others),
        planner.calls(qos.births(settings, others, names_per_call)),
        planner.joins(others),
        planner.returns(others, blocked),
        planner.calls(qos.values(others, names_per_call)),
        planner.heirs(others),
        planner.values(holds),
        planner.values(rest),
        planner.defaults(others, default_accounts),
        planner.leaves(others),
    )
    return tuple(stage for stage in planned if stage)


@dataclass(frozen=True, slots=True)
class _Planner:
    cluster: str
    trackables: Sequence[str]
    names_per_call: int
    earlier: Mapping[str, Earlier]

    def root(self, changes: Iterable[AccountChange]) -> Stage:
        """The root account is born without a limit: those below it have theirs."""
        return self._born(changes, ())

    def creates(self, changes: Iterable[AccountChange]) -> Stage:
        """A limit of 1 in the same command, so that nothing starts before the real one is there."""
        return self._born(changes, (f"GrpTRESMins={tres.render(dict.fromkeys(self.trackables, FLOOR))}",))

    def _born(self, changes: Iterable[AccountChange], limits: tuple[str, ...]) -> Stage:
        born = [change for change in changes if change.create]
        is_bulk = len({change.description for change in born}) > names.MOST_MARKS
        groups = _group(born, lambda change: (change.parent, BULK_MARK if is_bulk else change.description))
        return self._writes(
            (("add", "account", *self._where(chunk), *_origin(parent, description), *limits), chunk)
            for (parent, description), accounts in groups.items()
            for chunk in self._chunks(accounts)
        )

    def joins(self, changes: Iterable[AccountChange]) -> Stage:
        """One call adds every user given to every account given, so users with the same accounts go together."""
        joined: defaultdict[str, set[str]] = defaultdict(set)
        for change in changes:
            for user in change.add_members:
                joined[user].add(change.account)
        groups: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)
        for user, accounts in sorted(joined.items()):
            groups[tuple(sorted(accounts))].append(user)
        return self._writes(
            (("add", "user", *self._where(users), f"account={','.join(chunk)}"), chunk)
            for accounts, members in groups.items()
            for chunk in self._chunks(accounts)
            for users in self._chunks(members, self.names_per_call // len(chunk))
        )

    def returns(self, changes: Iterable[AccountChange], blocked: Mapping[str, frozenset[str]]) -> Stage:
        pairs = [(change.account, change.add_members & blocked.get(change.account, frozenset())) for change in changes]
        return self._submissions(pairs, UNLIMITED)

    def leaves(self, changes: Iterable[AccountChange]) -> Stage:
        return self._submissions([(change.account, change.remove_members) for change in changes], 0)

    def _submissions(self, pairs: Iterable[tuple[str, frozenset[str]]], value: int) -> Stage:
        """Stops members or lets them in again; an association with history is never deleted."""
        assignments = (f"MaxJobs={value}", f"MaxSubmitJobs={value}")
        return self._writes(
            (("modify", "user", "where", *self._where(sorted(users)), f"account={account}", "set", *assignments), [account])
            for account, users in pairs
            if users
        )

    def heirs(self, changes: Iterable[AccountChange]) -> Stage:
        """Users without QOSes of their own have those of the account."""
        nothing = (f"QOS={softland.INHERITED}", f"DefaultQOS={softland.NO_DEFAULT}")
        return self._writes(
            (("modify", "user", "where", *self._where(users), f"account={change.account}", "set", *nothing), [change.account])
            for change in changes
            for users in self._chunks(sorted(change.inherit_qos))
        )

    def calls(self, calls: Iterable[tuple[tuple[str, ...], Sequence[str]]]) -> Stage:
        return self._writes(calls)

    def defaults(self, changes: Iterable[AccountChange], default_accounts: Mapping[str, str]) -> Stage:
        moved = {user: change.account for change in changes for user in change.remove_members if user in default_accounts}
        return self._writes(
            (("modify", "user", "where", *self._where([user]), "set", f"DefaultAccount={default_accounts[user]}"), [account])
            for user, account in sorted(moved.items())
        )

    def values(self, changes: Iterable[AccountChange]) -> Stage:
        groups = _group(changes, lambda change: _assignments(change, self.earlier))
        return self._writes(
            (("modify", "account", "where", *self._where(chunk), "set", *assignments), chunk)
            for assignments, accounts in groups.items()
            if assignments
            for chunk in self._chunks(accounts)
        )

    def _where(self, items: Sequence[str]) -> tuple[str, str]:
        return f"name={','.join(items)}", f"cluster={self.cluster}"

    def _chunks(self, items: Sequence[str], size: int | None = None) -> Iterable[Sequence[str]]:
        step = max(1, self.names_per_call if size is None else size)
        return (items[start : start + step] for start in range(0, len(items), step))

    def _writes(self, calls: Iterable[tuple[tuple[str, ...], Sequence[str]]]) -> Stage:
        return tuple(Write(arguments, frozenset(accounts)) for arguments, accounts in calls)


def _origin(parent: str, description: str) -> tuple[str, ...]:
    return f"parent={parent}", f"description={description}", f"organization={ORGANIZATION}"


def _assignments(change: AccountChange, earlier: Mapping[str, Earlier]) -> tuple[str, ...]:
    maps = {"GrpTRESMins": change.limits, "GrpTRESRunMins": change.run_minutes, "GrpTRES": change.concurrent}
    amounts = [f"{key}={tres.render(value)}" for key, value in maps.items() if value]
    jobs = [] if change.held is None else [f"GrpJobs={0 if change.held else UNLIMITED}"]
    submissions = [] if change.blocked is None else [f"GrpSubmitJobs={0 if change.blocked else UNLIMITED}"]
    return (*amounts, *jobs, *submissions, *softland.assignments(change, earlier))


def _group(changes: Iterable[AccountChange], key: Callable[[AccountChange], Key]) -> dict[Key, list[str]]:
    groups: defaultdict[Key, list[str]] = defaultdict(list)
    for change in changes:
        groups[key(change)].append(change.account)
    return {value: sorted(accounts) for value, accounts in groups.items()}
