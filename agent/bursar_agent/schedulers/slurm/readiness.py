"""Does this Slurm make limits hold? Pure: its configuration as text in, misses out, each with the line that mends it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from bursar_agent import qosnames
from bursar_crds.reasons import Reason
from bursar_domain.wire import BillingEntry, ClusterSettings, Miss

ENFORCE: Final = "associations,limits,qos,safe"
ADMINISTRATOR: Final = "administrator"
OLDEST: Final = (21, 8)
PRIVILEGED: Final = frozenset({"operator", ADMINISTRATOR})
MAX_SKEW_SECONDS: Final = 60
_DIAGNOSIS_TIME: Final = re.compile(r"sdiag output at .*?\(?(?P<seconds>[0-9]{9,})\)?")
_WEIGHT: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9._:/-]*)=(?P<weight>[0-9]+(?:\.[0-9]*)?)(?P<suffix>[KMGTPkmgtp]?)")
_WEIGHT_POWERS: Final = {"K": 2, "": 1, "M": 1, "G": 0, "T": -1, "P": -2}
_QUEUE: Final = re.compile(r"^DBD Agent queue size:\s*(?P<size>[0-9]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Facts:
    """Answers of the commands that tell how Slurm is set up."""

    configuration: Mapping[str, str]
    partitions: tuple[Mapping[str, str], ...]
    trackables: frozenset[str]
    qos: tuple[tuple[str, str, str, str], ...]
    admin_level: str
    user: str
    controller_time: int | None
    now: int
    soft_land_qos: str = ""


def parse_configuration(text: str) -> dict[str, str]:
    """`scontrol show config`."""
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, _, value in pairs}


def parse_partitions(text: str) -> tuple[Mapping[str, str], ...]:
    """`scontrol -o show partition`."""
    lines = (line for line in text.splitlines() if line.startswith("PartitionName="))
    return tuple({key: value for key, _, value in (word.partition("=") for word in line.split())} for line in lines)


def parse_trackables(text: str) -> frozenset[str]:
    """`sacctmgr -nP list tres format=Type,Name`."""
    rows = (line.split("|") for line in text.splitlines() if line)
    return frozenset(f"{row[0]}/{row[1]}" if len(row) > 1 and row[1] else row[0] for row in rows)


def parse_qos(text: str) -> tuple[tuple[str, str, str, str], ...]:
    """`sacctmgr -nP list qos format=Name,UsageFactor,Flags,GrpTRESMins`."""
    rows = (line.split("|") for line in text.splitlines() if line)
    return tuple((row[0], row[1], row[2], row[3]) for row in rows if len(row) == 4)


def controller_time(text: str) -> int | None:
    """The controller's clock as `sdiag` says it."""
    match = _DIAGNOSIS_TIME.search(text)
    return int(match["seconds"]) if match else None


def queue_is_empty(text: str) -> bool:
    """Whether slurmctld has told slurmdbd everything, by `sdiag`; unknown counts as no."""
    match = _QUEUE.search(text)
    return match is not None and int(match["size"]) == 0


def misses(settings: ClusterSettings, facts: Facts) -> tuple[Miss, ...]:
    """Everything that keeps limits from holding."""
    found = (
        *_cluster(settings, facts),
        *_enforcement(settings, facts.configuration),
        *_priority(settings, facts.configuration),
        *_time_limits(facts),
        *_resources(settings, facts),
        *_qos(facts),
        *_soft_land(facts),
        *_agent(settings, facts),
    )
    return tuple(found)


def _miss(reason: Reason, message: str, remedy: str) -> Miss:
    return Miss(reason=str(reason), message=message, remedy=remedy)


def _cluster(settings: ClusterSettings, facts: Facts) -> Iterator[Miss]:
    name = facts.configuration.get("ClusterName", "")
    if name != settings.scheduler_name:
        text = f"slurm.conf says ClusterName={name}, the Cluster object says {settings.scheduler_name}"
        yield _miss(Reason.INVALID, text, f"spec.scheduler.name: {name}")
    version = facts.configuration.get("SLURM_VERSION", "")
    if _version(version) < OLDEST:
        yield _miss(
            Reason.UNSUPPORTED_VERSION, f"Slurm {version or 'of unknown version'} is too old", "install Slurm 22.05 or newer"
        )
    if not facts.configuration.get("AccountingStorageType", "").endswith("slurmdbd"):
        text = "accounting does not go to slurmdbd, so there are no limits and no job records"
        yield _miss(Reason.LIMITS_MISSING, text, "AccountingStorageType=accounting_storage/slurmdbd")


def _version(text: str) -> tuple[int, int]:
    numbers = re.findall(r"[0-9]+", text)
    return (int(numbers[0]), int(numbers[1])) if len(numbers) > 1 else (0, 0)


def _enforcement(settings: ClusterSettings, configuration: Mapping[str, str]) -> Iterator[Miss]:
    flags = configuration.get("AccountingStorageEnforce", "").lower()
    has = set(flags.split(","))
    line = f"AccountingStorageEnforce={ENFORCE}"
    reasons = {"associations": Reason.ASSOCIATIONS_MISSING, "limits": Reason.LIMITS_MISSING, "safe": Reason.SAFE_MISSING}
    for flag, reason in reasons.items():
        if flag not in has:
            yield _miss(
                reason, f"AccountingStorageEnforce is {flags or 'none'}: {reason.sentence}", f"{line} (then restart slurmctld)"
            )

    if settings.limit_mode == "QOS" and "qos" not in has:
        text = f"AccountingStorageEnforce is {flags or 'none'}: without `qos` the limits of QOSes are not looked at"
        yield _miss(Reason.LIMITS_MISSING, text, f"{line} (then restart slurmctld)")


def _priority(settings: ClusterSettings, configuration: Mapping[str, str]) -> Iterator[Miss]:
    """A counter of a QOS with NoDecay does not decay, but the reset period sets it to zero all the same."""
    wanted = {
        "PriorityType": ("priority/multifactor", Reason.NO_MULTIFACTOR),
        "PriorityDecayHalfLife": ("00:00:00", Reason.HALF_LIFE),
        "PriorityUsageResetPeriod": ("NONE", Reason.RESET_PERIOD),
    }
    for key, (value, reason) in wanted.items():
        shown = configuration.get(key, "not set")
        if shown != value and not (settings.limit_mode == "QOS" and reason is Reason.HALF_LIFE):
            line = f"{key}={'0' if reason is Reason.HALF_LIFE else value}"
            yield _miss(reason, f"{key} is {shown}: {reason.sentence}", line)


def _time_limits(facts: Facts) -> Iterator[Miss]:
    over = facts.configuration.get("OverTimeLimit", "0 min")
    if over != "0 min":
        yield _miss(Reason.OVER_TIME_LIMIT, f"OverTimeLimit is {over}: {Reason.OVER_TIME_LIMIT.sentence}", "OverTimeLimit=0")
    for partition in facts.partitions:
        name = partition["PartitionName"]
        if (own := partition.get("OverTimeLimit", "NONE")) not in ("NONE", "0"):
            text = f"partition {name} has OverTimeLimit {own}: {Reason.OVER_TIME_LIMIT.sentence}"
            yield _miss(Reason.OVER_TIME_LIMIT, text, f"PartitionName={name} OverTimeLimit=0")
        for key, example in (("DefaultTime", "01:00:00"), ("MaxTime", "7-00:00:00")):
            if partition.get(key, "NONE") in ("NONE", "UNLIMITED"):
                text = f"partition {name} has no {key}, and `safe` needs a finite time limit for each job"
                yield _miss(Reason.DEFAULT_TIME_MISSING, text, f"PartitionName={name} {key}={example}")


def _resources(settings: ClusterSettings, facts: Facts) -> Iterator[Miss]:
    wanted = [resource.trackable for resource in settings.resources]
    # A limit on a typed gres does not bind a job that asks for the plain one, so both must be counted.
    plain = [name.partition(":")[0] for name in wanted if ":" in name]
    for name in dict.fromkeys([*wanted, *plain]):
        if name not in facts.trackables:
            text = f"{name} is not counted: {Reason.TRACKABLE_MISSING.sentence}"
            yield _miss(Reason.TRACKABLE_MISSING, text, f"AccountingStorageTRES={','.join(_with_gres(facts.trackables, name))}")
    if settings.billing is not None:
        tracked = {resource.name: resource.trackable for resource in settings.resources}
        yield from billing_misses(settings.billing, tracked, facts.partitions)
    elif "billing" in wanted:
        yield from _weights(facts.partitions)


def _with_gres(trackables: Iterable[str], name: str) -> list[str]:
    return sorted({name, *(each for each in trackables if each.startswith(("gres/", "license/")))})


def _weights(partitions: Iterable[Mapping[str, str]]) -> Iterator[Miss]:
    for partition in partitions:
        weights = partition.get("TRESBillingWeights", "")
        if any("." in weight and weight.rpartition(".")[2].rstrip("KMGTP").strip("0") for weight in weights.split(",")):
            name = partition["PartitionName"]
            text = f"partition {name} has TRESBillingWeights={weights}: {Reason.FRACTIONAL_WEIGHTS.sentence}"
            yield _miss(Reason.FRACTIONAL_WEIGHTS, text, f"PartitionName={name} TRESBillingWeights=CPU=1 (whole numbers)")


def _qos(facts: Facts) -> Iterator[Miss]:
    for name, factor, flags, minutes in facts.qos:
        if factor and not factor.strip("0.") and "UsageFactorSafe" not in flags:
            text = f"QOS {name} has UsageFactor 0: {Reason.USAGE_FACTOR_SAFE.sentence}"
            yield _miss(Reason.USAGE_FACTOR_SAFE, text, f"sacctmgr modify qos where name={name} set Flags+=UsageFactorSafe")
        if minutes and not qosnames.is_ours(name):
            text = f"QOS {name} has GrpTRESMins={minutes}, which replaces the accounts' limits for jobs of that QOS"
            names = ",".join(f"{item.partition('=')[0]}=-1" for item in minutes.split(","))
            yield _miss(Reason.LIMITS_MISSING, text, f"sacctmgr modify qos where name={name} set GrpTRESMins={names}")


def _soft_land(facts: Facts) -> Iterator[Miss]:
    """The flag of a QOS with factor 0 is looked at above."""
    name = facts.soft_land_qos
    factors = {row[0]: row[1] for row in facts.qos}
    if name and name not in factors:
        text = f"soft_land_qos is {name}, and there is no such QOS: SoftLand holds instead"
        yield _miss(Reason.USAGE_FACTOR_SAFE, text, f"sacctmgr add qos name={name} UsageFactor=0 Flags=UsageFactorSafe")
    elif name and (not factors[name] or factors[name].strip("0.")):
        text = f"soft_land_qos is {name}, whose UsageFactor is {factors[name] or 'not set'}: SoftLand holds instead"
        remedy = f"sacctmgr modify qos where name={name} set UsageFactor=0 Flags+=UsageFactorSafe"
        yield _miss(Reason.USAGE_FACTOR_SAFE, text, remedy)


def billing_misses(
    billing: BillingEntry, trackables: Mapping[str, str], partitions: Iterable[Mapping[str, str]]
) -> Iterator[Miss]:
    """Partitions whose TRESBillingWeights are not those of the Cluster's `spec.billing`, with the line that mends each.

    Weights are whole, so that fractions never pass; that of memory is of a GiB. `trackables` have the TRES of each resource.
    """
    wanted = {_billing_name(trackables.get(item.name, item.name)): item.weight for item in billing.weights}
    line = ",".join(f"{name}={weight}{'G' if name == 'mem' else ''}" for name, weight in sorted(wanted.items()))
    for partition in partitions:
        shown = partition.get("TRESBillingWeights", "")
        if _billing(shown) != {name: Fraction(weight) for name, weight in wanted.items()}:
            name = partition["PartitionName"]
            said = f"version {billing.version} of the Cluster's spec.billing says {line}"
            text = f"partition {name} has TRESBillingWeights={shown or 'none'}, {said}"
            yield _miss(Reason.BILLING_WEIGHTS, text, f"PartitionName={name} TRESBillingWeights={line}")


def _billing(text: str) -> dict[str, Fraction]:
    """Weights by TRES, memory by the GiB (a bare number counts by the MiB); one that can't be read is no weight at all."""
    found: dict[str, Fraction] = {}
    for item in text.split(",") if text else ():
        match = _WEIGHT.fullmatch(item.strip())
        if match is None:
            return {}
        name = _billing_name(match["name"])
        power = _WEIGHT_POWERS[match["suffix"].upper()] if name == "mem" else 0
        weight = Fraction(match["weight"]) * (Fraction(1024) ** power if name == "mem" else 1)
        if weight:
            found[name] = weight
    return found


def _billing_name(trackable: str) -> str:
    return trackable.lower().removeprefix("tres/")


def _agent(settings: ClusterSettings, facts: Facts) -> Iterator[Miss]:
    slurm_user = facts.configuration.get("SlurmUser", "").partition("(")[0]
    has_qoses = settings.limit_mode == "QOS"
    enough = {ADMINISTRATOR} if has_qoses else PRIVILEGED
    if facts.user not in ("root", slurm_user) and facts.admin_level.lower() not in enough:
        level = "Administrator" if has_qoses else "Operator"
        text = f"user {facts.user} has admin level {facts.admin_level or 'None'}: {Reason.PRIVILEGE_MISSING.sentence}"
        yield _miss(Reason.PRIVILEGE_MISSING, text, f"sacctmgr modify user where name={facts.user} set AdminLevel={level}")
    if facts.controller_time is not None and abs(facts.controller_time - facts.now) > MAX_SKEW_SECONDS:
        text = f"slurmctld's clock differs by {facts.controller_time - facts.now} s from this machine's"
        yield _miss(Reason.CLOCK_SKEW, text, "run a time service (chrony, systemd-timesyncd) on both machines")
