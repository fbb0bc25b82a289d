"""The configuration files of the throw-away Slurm, as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bursar_local.slurm.programs import Programs

CGROUP_CONF = "CgroupPlugin=cgroup/v1\n"
"""Nothing here uses control groups; this plug-in alone lets slurmd start where they are not mounted."""


@dataclass(frozen=True)
class SlurmOptions:
    """What may differ between two throw-away clusters; `overrides` replaces lines of slurm.conf, None leaves one out."""

    cluster: str
    users: Sequence[str]
    nodes: int = 1
    cpus: int = 512
    gpus: int = 8
    memory_mib_per_cpu: int = 1024
    enforce: str = "associations,limits,qos,safe"
    calc_period_minutes: int = 1
    default_minutes: int = 10
    overrides: Mapping[str, str | None] = field(default_factory=dict)
    partition_overrides: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Ports:
    """Free ports on loopback."""

    slurmctld: int
    slurmdbd: int
    slurmds: tuple[int, ...]

    @property
    def slurmd(self) -> int:
        """The port of the first node."""
        return self.slurmds[0]


@dataclass(frozen=True)
class Layout:
    """Where things lie: state and logs in `directory`; sockets, configuration, spool in `run`, short and open to all users."""

    directory: Path
    run: Path

    @property
    def configuration(self) -> Path:
        """slurm.conf; slurmdbd.conf and gres.conf lie beside it."""
        return self.run / "etc" / "slurm.conf"

    @property
    def munge_socket(self) -> Path:
        """The socket of our own munged."""
        return self.run / "munge" / "socket"

    @property
    def database_socket(self) -> Path:
        """The socket of our own MariaDB, in a folder closed to others."""
        return self.run / "db" / "socket"

    @property
    def passwd(self) -> Path:
        """The user table of nss_wrapper."""
        return self.run / "etc" / "passwd"

    @property
    def group(self) -> Path:
        """The group table of nss_wrapper."""
        return self.run / "etc" / "group"

    @property
    def hosts(self) -> Path:
        """The host table of nss_wrapper: every name we use is loopback, so nothing listens elsewhere."""
        return self.run / "etc" / "hosts"

    @property
    def spool(self) -> Path:
        """slurmd's folder of job scripts."""
        return self.run / "spool"

    def devices(self, count: int) -> list[Path]:
        """The files that stand for GPUs."""
        return [self.run / "dev" / f"gpu{number}" for number in range(count)]

    def log(self, part: str) -> Path:
        """The log file of a part."""
        return self.directory / "log" / f"{part}.log"


def host_name(options: SlurmOptions) -> str:
    """The host that the controller runs on; the first node is called so, too."""
    return f"{options.cluster}-host"


def node_names(options: SlurmOptions) -> list[str]:
    """All nodes; those beyond the first are further daemons on the same machine."""
    host = host_name(options)
    return [host, *(f"{host}-{number}" for number in range(2, options.nodes + 1))]


def slurm_conf(options: SlurmOptions, layout: Layout, programs: Programs, ports: Ports) -> str:
    """slurm.conf."""
    settings = {**_names(options, ports), **_places(layout, programs), **_policy(options, layout, ports), **_timings()}
    lines = [f"{key}={value}" for key, value in {**settings, **options.overrides}.items() if value is not None]
    return "\n".join([*lines, *_nodes(options, ports), _partition(options)]) + "\n"


def _names(options: SlurmOptions, ports: Ports) -> dict[str, str]:
    host = host_name(options)
    return {
        "ClusterName": options.cluster,
        "SlurmctldHost": f"{host}(127.0.0.1)",
        "SlurmctldPort": str(ports.slurmctld),
        "SlurmUser": "root",
        "SlurmdUser": "root",
        "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",
    }


def _places(layout: Layout, programs: Programs) -> dict[str, str]:
    return {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "PluginDir": str(programs.plugins),
        "StateSaveLocation": str(layout.directory / "state"),
        "SlurmdSpoolDir": str(layout.spool / "%n"),
        "SlurmctldPidFile": str(layout.run / "slurmctld.pid"),
        "SlurmdPidFile": str(layout.run / "slurmd-%n.pid"),
        "MailProg": "/bin/true",
    }


def _policy(options: SlurmOptions, layout: Layout, ports: Ports) -> dict[str, str | None]:
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePass": str(layout.munge_socket),
        "AccountingStoragePort": str(ports.slurmdbd),
        "AccountingStorageEnforce": options.enforce,
        "AccountingStorageTRES": "gres/gpu,gres/gpu:a100" if options.gpus else None,
        "PriorityType": "priority/multifactor",
        "PriorityDecayHalfLife": "0",
        "PriorityUsageResetPeriod": "NONE",
        "PriorityCalcPeriod": str(options.calc_period_minutes),
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "JobCompType": "jobcomp/filetxt",
        "JobCompLoc": str(layout.log("jobs")),
        "GresTypes": "gpu" if options.gpus else None,
        "SlurmdParameters": "config_overrides",
        "OverTimeLimit": "0",
        "ReturnToService": "2",
        "JobRequeue": "1",
        "LaunchParameters": "disable_send_gids",
        "MaxJobCount": "100000",
    }


def _timings() -> dict[str, str]:
    return {
        "SchedulerType": "sched/backfill",
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=1,bf_interval=1,bf_continue,default_queue_depth=2000",
        "MinJobAge": "60",
        "KillWait": "2",
        "CompleteWait": "0",
        "InactiveLimit": "0",
        "SlurmctldTimeout": "30",
        "SlurmdTimeout": "60",
        "MessageTimeout": "20",
        "SlurmctldDebug": "info",
        "SlurmdDebug": "info",
    }


def _nodes(options: SlurmOptions, ports: Ports) -> list[str]:
    """The first node has the GPUs."""
    memory = options.cpus * options.memory_mib_per_cpu
    shape = f"CPUs={options.cpus} Boards=1 SocketsPerBoard=1 CoresPerSocket={options.cpus} ThreadsPerCore=1 RealMemory={memory}"
    gres = [f" Gres=gpu:a100:{options.gpus}" if options.gpus else "", *[""] * (options.nodes - 1)]
    return [
        f"NodeName={name} NodeHostname={host_name(options)} NodeAddr=127.0.0.1 Port={port} {shape}{its_gres} State=UNKNOWN"
        for name, port, its_gres in zip(node_names(options), ports.slurmds, gres, strict=True)
    ]


def _partition(options: SlurmOptions) -> str:
    settings: dict[str, str | None] = {
        "Nodes": ",".join(node_names(options)),
        "Default": "YES",
        "State": "UP",
        "DefaultTime": str(options.default_minutes),
        "MaxTime": "7-00:00:00",
        "DefMemPerCPU": str(options.memory_mib_per_cpu),
        "TRESBillingWeights": "CPU=1,GRES/gpu=16" if options.gpus else "CPU=1",
        **options.partition_overrides,
    }
    return " ".join(["PartitionName=batch", *(f"{key}={value}" for key, value in settings.items() if value is not None)])


def gres_conf(options: SlurmOptions, layout: Layout) -> str:
    """gres.conf: GPUs whose devices are empty files, since there is no hardware (a count without devices is reported as 0)."""
    devices = "".join(
        f"NodeName={host_name(options)} Name=gpu Type=a100 File={path}\n" for path in layout.devices(options.gpus)
    )
    return f"AutoDetect=off\n{devices}" if devices else ""


def slurmdbd_conf(options: SlurmOptions, layout: Layout, programs: Programs, ports: Ports, password: str) -> str:
    """slurmdbd.conf; readable by root only, since it holds the password of our own database."""
    settings = {
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "DbdHost": host_name(options),
        "DbdAddr": "127.0.0.1",
        "DbdPort": str(ports.slurmdbd),
        "SlurmUser": "root",
        "PidFile": str(layout.run / "slurmdbd.pid"),
        "PluginDir": str(programs.plugins),
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "slurm",
        "StoragePass": password,
        "StorageLoc": "slurm_acct_db",
        "CommunicationParameters": "NoInAddrAny",
        "DebugLevel": "info",
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())


def mariadb_flags(layout: Layout, programs: Programs) -> list[str]:
    """Arguments common to MariaDB's first run and every later one: no network, little memory, no waiting for the disk."""
    share = programs.database_share
    return [
        "--no-defaults",
        f"--datadir={layout.directory / 'db'}",
        f"--lc-messages-dir={share}",
        f"--character-sets-dir={share / 'charsets'}",
        "--user=root",
        "--innodb-buffer-pool-size=64M",
        "--innodb-log-file-size=32M",
        "--innodb-flush-log-at-trx-commit=0",
        "--innodb-lock-wait-timeout=900",
        "--innodb-doublewrite=0",
        "--max-allowed-packet=64M",
    ]


def mariadb_first_run(programs: Programs, password: str) -> str:
    """What MariaDB reads on its first run: its own tables, one database and one user."""
    share = programs.database_share
    names = ("mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql")
    present = [name if (share / name).exists() else name.replace("mysql_", "mariadb_") for name in names]
    tables = "".join((share / name).read_text() for name in present)
    return (
        f"create database mysql;\nuse mysql;\nset @auth_root_socket='root';\n{tables}\n"
        "flush privileges;\ncreate database slurm_acct_db;\n"
        f"create user slurm@localhost identified by '{password}';\n"
        "grant all on slurm_acct_db.* to slurm@localhost;\n"
    )


def user_tables(users: Sequence[str], ids: Sequence[int]) -> tuple[str, str]:
    """passwd and group for nss_wrapper: root and the given users, one group for all of them."""
    gid = ids[0]
    rows = [f"{name}:x:{uid}:{gid}:{name}:/tmp:/bin/sh" for name, uid in zip(users, ids, strict=False)]
    passwd = "\n".join(["root:x:0:0:root:/:/bin/sh", *rows, "nobody:x:65534:65534:nobody:/nonexistent:/bin/false"])
    return passwd + "\n", f"root:x:0:\nbursar-users:x:{gid}:\nnogroup:x:65534:\n"
