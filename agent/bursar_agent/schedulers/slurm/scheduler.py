"""The Slurm scheduler: capabilities, observe, usage, apply (write, then read back) over Slurm's own commands."""

import asyncio
import os
import pwd
import shlex
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bursar_agent import qosnames
from bursar_agent.schedulers.base import (
    AccountChange,
    Observation,
    Outcome,
    QosView,
    Readiness,
    SchedulerError,
    SchedulerUnavailable,
    UsageRead,
)
from bursar_agent.schedulers.slurm import associations, factors, names, proof, qos, readiness, records, softland, writes
from bursar_agent.schedulers.slurm.associations import AccountRow
from bursar_agent.schedulers.slurm.commands import Commands, CommandTimedOut
from bursar_agent.schedulers.slurm.factors import FactorStore
from bursar_agent.schedulers.slurm.records import Listed, Record
from bursar_agent.schedulers.slurm.settings import SlurmSettings
from bursar_agent.schedulers.slurm.softland import SoftLandings
from bursar_crds.names import is_user
from bursar_domain.units import DEFAULT_TRACKABLE
from bursar_domain.wire import ClusterSettings

CAPABILITIES = ("limits", "runMinutes", "concurrent", "hold", "block", "members", "usage", "qos")
ROOT_MARK = "bursar:root"
SETTLE_STEP_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One observation, and the rows of the database that it was made from."""

    observation: Observation
    rows: Mapping[str, AccountRow]

    def blocked(self, accounts: Iterable[str]) -> dict[str, frozenset[str]]:
        """Users of these accounts whom an earlier change stopped."""
        return {account: frozenset(self.rows[account].blocked) for account in accounts if account in self.rows}


class SlurmScheduler:
    """A connected Slurm. One writer at a time; reads may go beside."""

    def __init__(
        self,
        settings: SlurmSettings,
        commands: Commands,
        past_factors: FactorStore,
        landings: SoftLandings,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Runs nothing yet. ``clock``: the time of the machine that Slurm runs on."""
        self._clock = clock
        self._settings = settings
        self._commands = commands
        self._past_factors = past_factors
        self._landings = landings
        self._soft_land_qos: str | None = None
        self._writing = asyncio.Lock()
        self._cluster: str | None = None
        self._trackables: Mapping[str, str] = DEFAULT_TRACKABLE
        self._lost: dict[str, int] = {}

    async def capabilities(self, settings: ClusterSettings) -> Readiness:
        """Version and every miss, from Slurm's own answers."""
        self._remember(settings)
        read, user = self._commands.read, _own_name()
        configuration, partitions, diagnosis, trackables, qos, admin = await asyncio.gather(
            read("scontrol", "show", "config"),
            read("scontrol", "-o", "show", "partition"),
            read("sdiag"),
            read("sacctmgr", "-nP", "list", "tres", "format=Type,Name%100"),
            read("sacctmgr", "-nP", "list", "qos", "format=Name%100,UsageFactor,Flags%500,GrpTRESMins%500"),
            self._admin_level(user),
        )
        facts = readiness.Facts(
            configuration=readiness.parse_configuration(configuration),
            partitions=readiness.parse_partitions(partitions),
            trackables=readiness.parse_trackables(trackables),
            qos=readiness.parse_qos(qos),
            admin_level=admin,
            user=user,
            controller_time=readiness.controller_time(diagnosis),
            now=self._now(),
            soft_land_qos=self._settings.soft_land_qos,
        )
        version = facts.configuration.get("SLURM_VERSION", "unknown")
        largest = self._past_factors.largest(factor for _, factor, *_ in facts.qos)
        return Readiness("slurm", version, CAPABILITIES, readiness.misses(settings, facts), largest)

    async def observe(self, settings: ClusterSettings) -> Observation:
        """All accounts of the cluster in three bulk reads at once, QOSes of ours in two more where these carry the limits.

        Accounts that are not ours have `owned=False`.
        """
        return (await self._snapshot(settings)).observation

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        """Attempts that overlap [since, now); the watermark is None unless slurmdbd had been told everything."""
        if until is not None:
            return await self._slice(since, until)
        cluster = await self._cluster_name()
        started = self._now()
        empty_before, in_force = await asyncio.gather(self._queue_is_empty(), self._factors())
        self._past_factors.note(in_force, started)
        self._soft_land_qos = None
        found, bad = await self._records(cluster, since, None)
        listed = records.parse_listing(await self._commands.read("squeue", *records.listing_arguments()))
        empty = empty_before and await self._queue_is_empty()
        now = self._now()
        self._note_lost(found, listed, now)
        ends = {record.key: self._ended_at(record, listed) for record in found if record.end is None}
        jobs = [records.use(record, self._trackables, started, ends.get(record.key)) for record in found]
        return UsageRead(now, since, jobs, records.complete_until(found, listed, since, started) if empty else None, bad)

    async def _slice(self, since: int, until: int) -> UsageRead:
        """Older records alone: what became of the jobs is as the last whole read had it."""
        cluster, started = await self._cluster_name(), self._now()
        found, bad = await self._records(cluster, since, until)
        is_open = any(record.end is None for record in found)
        listing = await self._commands.read("squeue", *records.listing_arguments()) if is_open else ""
        listed, now = records.parse_listing(listing), self._now()
        ends = {
            record.key: self._ended_at(record, listed) if record.job_id in listed else self._lost.get(record.key, now)
            for record in found
            if record.end is None
        }
        jobs = [records.use(record, self._trackables, started, ends.get(record.key)) for record in found]
        return UsageRead(now, since, jobs, None, bad)

    async def apply(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[Outcome]:
        """Checks, writes, reads back. A change that may not be written is answered, not raised; the others go on."""
        refused = {change.account: why for change in changes if (why := _bad_name(change))}
        valid = [change for change in changes if change.account not in refused]
        missing: Mapping[str, tuple[str, ...]] = {}
        if valid:
            async with self._writing:
                errors, missing = await self._apply(settings, valid)
                refused |= errors
        return [
            Outcome(
                change.account, change.account not in refused, refused.get(change.account, ""), missing.get(change.account, ())
            )
            for change in changes
        ]

    async def _apply(
        self, settings: ClusterSettings, changes: Sequence[AccountChange]
    ) -> tuple[dict[str, str], dict[str, tuple[str, ...]]]:
        """Errors and missing users by account."""
        before = await self._snapshot(settings)
        self._landings.note(changes, {name: row.qos for name, row in before.rows.items()})
        refused = {change.account: why for change in changes if (why := _refusal(settings, before, change))}
        allowed = [change for change in changes if change.account not in refused]
        known = await self._commands.existing_users(sorted({user for change in allowed for user in change.add_members}))
        possible = _root_first(settings, before, allowed)
        possible += [replace(change, add_members=change.add_members & known) for change in allowed]
        errors: dict[str, str] = {}
        for phase in qos.rounds(possible):
            errors |= await self._carry_out(settings, before, [change for change in phase if change.account not in errors])
        self._landings.forget(item.account for item in possible if softland.gives_back(item) and item.account not in errors)
        return {**errors, **refused}, {change.account: tuple(sorted(change.add_members - known)) for change in allowed}

    async def _carry_out(self, settings: ClusterSettings, before: Snapshot, changes: Sequence[AccountChange]) -> dict[str, str]:
        """Write and read back; what is not proven, by account."""
        if not changes:
            return {}
        complaints = await self._write_all(await self._stages(settings, before, changes))
        unproven = await self._read_back(settings, changes)
        return {account: _sentence(why, complaints.get(account, "")) for account, why in unproven.items()}

    def render(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[str]:
        """The commands of `apply`, as a person would type them."""
        names.check_settings(settings)
        for change in changes:
            names.check_change(change)
        stages = [stage for phase in qos.rounds(changes) for stage in self._plan(settings, phase, {}, {})]
        return [shlex.join(self._commands.argv("sacctmgr", ("-i", *write.arguments))) for stage in stages for write in stage]

    async def close(self) -> None:
        """Nothing is held open between calls."""

    def _now(self) -> int:
        return int(self._clock())

    def _remember(self, settings: ClusterSettings) -> None:
        names.check_settings(settings)
        self._cluster = settings.scheduler_name
        self._trackables = {resource.name: resource.trackable for resource in settings.resources}

    async def _snapshot(self, settings: ClusterSettings, *, with_qoses: bool = False) -> Snapshot:
        self._remember(settings)
        looks = with_qoses or settings.limit_mode == "QOS"
        cluster, now = settings.scheduler_name, self._now()
        # Before sshare: the remainder of running jobs falls, so what the account has more than its QOSes runs elsewhere.
        counters = await self._commands.read("scontrol", *qos.counter_arguments()) if looks else ""
        listed, described, shared = await asyncio.gather(
            self._commands.read("sacctmgr", *associations.association_arguments(cluster)),
            self._commands.read("sacctmgr", *associations.description_arguments()),
            self._commands.read("sshare", *associations.share_arguments()),
        )
        rows = associations.parse_accounts(listed, associations.parse_descriptions(described))
        shares = associations.parse_shares(shared, cluster)
        landing = await self._landing_qos()
        views = {name: associations.view(settings, row, shares, self._settings.soft_land_qos) for name, row in rows.items()}
        root = views.pop(settings.root_account, None)
        if not looks and any(qosnames.is_ours(name) for row in rows.values() for name in row.qos.qos):  # from before
            looks, counters = True, await self._commands.read("scontrol", *qos.counter_arguments())
        qoses = await self._qoses(counters) if looks else None
        return Snapshot(Observation(now, views, root, landing, qoses), rows)

    async def _qoses(self, counters: str) -> dict[str, QosView]:
        ours = qos.parse_database(await self._commands.read("sacctmgr", *qos.database_arguments()))
        return await asyncio.to_thread(qos.parse, counters, ours)

    async def _stages(
        self, settings: ClusterSettings, before: Snapshot, changes: Sequence[AccountChange]
    ) -> Sequence[writes.Stage]:
        leavers = sorted({user for change in changes for user in change.remove_members})
        defaults = await self._new_defaults(settings, before, changes, leavers) if leavers else {}
        return self._plan(settings, changes, before.blocked(change.account for change in changes), defaults)

    def _plan(
        self,
        settings: ClusterSettings,
        changes: Sequence[AccountChange],
        blocked: Mapping[str, frozenset[str]],
        defaults: Mapping[str, str],
    ) -> Sequence[writes.Stage]:
        names.check_settings(settings)
        per_call = self._settings.names_per_call
        return writes.stages(
            settings,
            changes,
            names_per_call=per_call,
            blocked=blocked,
            default_accounts=defaults,
            earlier=self._landings.earlier,
        )

    async def _new_defaults(
        self, settings: ClusterSettings, before: Snapshot, changes: Sequence[AccountChange], leavers: Sequence[str]
    ) -> dict[str, str]:
        """For those whose default account is one that they leave: another account of ours that they stay in."""
        text = await self._commands.read(
            "sacctmgr", "-nP", "list", "user", "where", f"name={','.join(leavers)}", f"cluster={settings.scheduler_name}",
            "withassoc", "format=User%100,DefaultAccount%100",
        )  # fmt: skip
        defaults = dict(line.split("|", 1) for line in text.splitlines() if "|" in line)
        left = {(user, change.account) for change in changes for user in change.remove_members}
        ours = [view for view in before.observation.accounts.values() if view.owned]
        stays = {user: [v.account for v in ours if user in v.members and (user, v.account) not in left] for user in leavers}
        return {user: stays[user][0] for user in leavers if stays[user] and (user, defaults.get(user, "")) in left}

    async def _write_all(self, stages: Sequence[writes.Stage]) -> dict[str, str]:
        """First complaint by account. After a time-out nothing more is written: its effect must be read back first."""
        complaints: dict[str, str] = {}
        for stage in stages:
            slots = asyncio.Semaphore(1 if any(write.is_addition for write in stage) else self._settings.writers)
            halt = asyncio.Event()
            answers = await asyncio.gather(*(self._write(write, slots, halt) for write in stage))
            for write, complaint in zip(stage, answers, strict=True):
                complaints = {**dict.fromkeys(write.accounts if complaint else (), complaint), **complaints}
            if halt.is_set():
                break
        return complaints

    async def _write(self, write: writes.Write, slots: asyncio.Semaphore, halt: asyncio.Event) -> str:
        async with slots:
            if halt.is_set():
                return "not tried, since a command before it timed out"
            try:
                return await self._commands.write(*write.arguments)
            except CommandTimedOut as error:
                halt.set()
                return str(error)
            except SchedulerError as error:
                return str(error)

    async def _read_back(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> dict[str, str]:
        """What Slurm does not show of each change, given a little time to settle."""
        deadline = time.monotonic() + self._settings.settle_seconds
        while True:
            seen = (await self._snapshot(settings, with_qoses=any(change.qoses for change in changes))).observation
            views = {**seen.accounts, **({seen.root.account: seen.root} if seen.root else {})}
            found = ((change.account, proof.unproven(change, views.get(change.account), seen.qoses)) for change in changes)
            missing = {account: why for account, why in found if why}
            if not missing or time.monotonic() > deadline:
                return missing
            await asyncio.sleep(SETTLE_STEP_SECONDS)

    async def _landing_qos(self) -> str:
        """The QOS of the settings while it is fit; looked at again with each read of job records."""
        if self._soft_land_qos is None:
            name = self._settings.soft_land_qos
            fit = bool(name) and softland.is_fit(await self._commands.read("sacctmgr", *softland.arguments()), name)
            self._soft_land_qos = name if fit else ""
        return self._soft_land_qos

    async def _admin_level(self, user: str) -> str:
        if not is_user(user):
            return ""
        text = await self._commands.read("sacctmgr", "-nP", "list", "user", "where", f"name={user}", "format=Admin")
        return text.strip()

    async def _cluster_name(self) -> str:
        if self._cluster is None:
            text = await self._commands.read("scontrol", "show", "config")
            self._cluster = readiness.parse_configuration(text).get("ClusterName", "")
        if not names.SCHEDULER_NAME.fullmatch(self._cluster):
            raise SchedulerUnavailable(f"scontrol names no cluster that can be read: {self._cluster!r}")
        return self._cluster

    async def _queue_is_empty(self) -> bool:
        return readiness.queue_is_empty(await self._commands.read("sdiag"))

    async def _factors(self) -> dict[str, int]:
        try:
            return factors.parse(await self._commands.read("sacctmgr", *factors.arguments()))
        except ValueError as error:
            raise SchedulerUnavailable(str(error)) from error

    async def _records(self, cluster: str, since: int, until: int | None) -> tuple[list[Record], int]:
        batches, bad = [], 0
        for start, end in records.windows(since, until, self._now(), self._settings.window_hours):
            text = await self._commands.read(
                "sacct", *records.arguments(cluster, start, end), timeout_seconds=self._settings.records_timeout_seconds
            )
            batch, unread = await asyncio.to_thread(records.parse, text, cluster, self._past_factors.at)
            batches.append(batch)
            bad += unread
        return list(records.newest(batches).values()), bad

    def _note_lost(self, found: Iterable[Record], listed: Container[str], now: int) -> None:
        missed = {record.key for record in found if record.end is None and record.job_id not in listed}
        self._lost = {key: self._lost.get(key, now) for key in missed}

    def _ended_at(self, record: Record, listed: Mapping[str, Listed]) -> int | None:
        return self._lost[record.key] if record.key in self._lost else records.ended_at(record, listed)


def _own_name() -> str:
    """The user as the kernel has it; the environment may say anything."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _root_first(settings: ClusterSettings, before: Snapshot, changes: Sequence[AccountChange]) -> list[AccountChange]:
    """The root account is made with the first account below it."""
    root = settings.root_account
    needed = any(change.create and change.parent == root for change in changes)
    if not needed or before.observation.root is not None or any(change.account == root for change in changes):
        return []
    return [AccountChange(account=root, create=True, parent=names.SLURM_ROOT, description=ROOT_MARK)]


def _bad_name(change: AccountChange) -> str:
    try:
        names.check_change(change)
    except names.BadName as error:
        return str(error)
    return ""


def _refusal(settings: ClusterSettings, before: Snapshot, change: AccountChange) -> str:
    """Why a change is not written, or ""."""
    is_root = change.account == settings.root_account
    view = before.observation.root if is_root else before.observation.accounts.get(change.account)
    if view is None:
        return "" if change.create else f"account {change.account} is not in Slurm: it has to be created first"
    if not is_root and not view.owned:
        return (
            f"account {change.account} is not ours (not below {settings.root_account}, or without our mark): it is left alone"
        )
    return ""


def _sentence(why: str, complaint: str) -> str:
    return f"after the write {why}" + (f" ({complaint})" if complaint else "")
