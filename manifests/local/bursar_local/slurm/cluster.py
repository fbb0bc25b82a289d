"""One throw-away Slurm: start, run commands, submit jobs, stop."""

import asyncio
import contextlib
import json
import os
import secrets
import tempfile
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bursar_local.packages import Progress
from bursar_local.ports import free_ports
from bursar_local.slurm import clock as clocks
from bursar_local.slurm import config, daemons, preparation, programs
from bursar_local.slurm.clock import Clock
from bursar_local.slurm.config import Layout, Ports, SlurmOptions
from bursar_local.slurm.daemons import Daemon
from bursar_local.slurm.errors import SlurmUnavailable
from bursar_local.slurm.programs import DEFAULT_CACHE, Programs

STOP_ORDER = ("slurmctld", "slurmd", "slurmdbd", "mariadbd", "munged")
MACHINE_TIME = ("munged", "mariadbd")
COUNTER_FILES = ("assoc_usage", "qos_usage")


def can_run(cache: Path = DEFAULT_CACHE) -> str | None:
    """Why a throw-away Slurm can't run here, or None when it can."""
    if os.name != "posix" or not Path("/proc/self/environ").exists():
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, since jobs run as several users"
    return programs.why_not(cache)


def _quiet(line: str) -> None:
    """Progress that nobody asked for."""


@dataclass
class Slurm:
    """A running throw-away Slurm. `environment` and `bin` are what client commands need."""

    options: SlurmOptions
    layout: Layout
    programs: Programs
    ports: Ports
    user_ids: Mapping[str, int]
    environment: Mapping[str, str]
    lock: IO[str]
    daemons: dict[str, Daemon] = field(default_factory=dict)

    @classmethod
    async def start(
        cls,
        directory: Path,
        *,
        cluster: str,
        users: Sequence[str],
        nodes: int = 1,
        cpus: int = 512,
        calc_period_minutes: int = 1,
        enforce: str = "associations,limits,qos,safe",
        overrides: Mapping[str, str | None] | None = None,
        partition_overrides: Mapping[str, str | None] | None = None,
        clock: Clock | None = None,
        cache: Path = DEFAULT_CACHE,
        progress: Progress = _quiet,
    ) -> "Slurm":
        """Starts everything below `directory`, removing what an earlier run left there; returns when jobs can be submitted.

        `clock`: the time that Slurm sees; without one it is the machine's.
        """
        if reason := can_run(cache):
            raise SlurmUnavailable(f"the throw-away Slurm can't run here: {reason}")
        options = SlurmOptions(
            cluster=cluster,
            users=tuple(users),
            nodes=nodes,
            cpus=cpus,
            calc_period_minutes=calc_period_minutes,
            enforce=enforce,
            overrides=overrides or {},
            partition_overrides=partition_overrides or {},
        )
        found = await programs.obtain(cache, progress)
        slurm = _prepare(directory, options, found, clock)
        try:
            await slurm._start_all(progress)
        except BaseException:
            await slurm.stop()
            raise
        preparation.write(slurm.layout.directory / "slurm.json", json.dumps(slurm.describe(), indent=2), mode=0o600)
        return slurm

    @property
    def bin(self) -> Path:
        """The folder of the client commands."""
        return self.programs.bin

    @property
    def cluster(self) -> str:
        """The cluster's name in Slurm."""
        return self.options.cluster

    async def run(self, *argv: str, user: str | None = None, check: bool = True, timeout_seconds: float = 60) -> str:
        """Runs a client command (by its bare name), as root or as one of the users, and returns what it printed."""
        identity: list[str] = []
        environment = dict(self.environment)
        if user is not None:
            # Preloaded after the change of user: what a library set up as root is not open to others.
            preload = f"LD_PRELOAD={environment.pop('LD_PRELOAD')}"
            to_user = ["setpriv", f"--reuid={self.user_ids[user]}", f"--regid={self._gid}", "--clear-groups", "--"]
            identity = [*to_user, "env", preload]
        code, text = await _capture([*identity, str(self.programs.path(argv[0])), *argv[1:]], environment, timeout_seconds)
        if check and code != 0:
            raise SlurmUnavailable(f"`{' '.join(argv)}` ended with {code}: {text.strip()}")
        return text

    async def submit(
        self,
        account: str,
        user: str,
        *,
        cpus: int = 1,
        minutes: int = 1,
        seconds: float = 0,
        gpus: int = 0,
        command: str = "",
        extra: Sequence[str] = (),
    ) -> int:
        """Submits a job that asks for `minutes` and runs `command`, or sleeps for `seconds`; returns its number."""
        gres = [f"--gres=gpu:a100:{gpus}"] if gpus else []
        request = [f"--account={account}", f"--ntasks={cpus}", f"--time={minutes}", "--chdir=/tmp", "--output=/dev/null"]
        text = await self.run(
            "sbatch", "--parsable", *request, *gres, *extra, f"--wrap={command or f'sleep {seconds}'}", user=user
        )
        return int(text.strip().splitlines()[-1].split(";")[0])

    async def job(self, job_id: int) -> tuple[str, str]:
        """State and reason of a job as the controller has it; ("", "") once it is forgotten."""
        text = await self.run("squeue", "--noheader", "--states=all", f"--jobs={job_id}", "--format=%T|%r", check=False)
        state, _, reason = text.strip().partition("|")
        return ("", "") if "|" not in text or "error" in text else (state, reason)

    async def refresh_counters(self) -> None:
        """Makes slurmctld bring its usage counters up to now instead of at the end of PriorityCalcPeriod."""
        await self.run("scontrol", "reconfigure")

    async def halt(self, name: str) -> None:
        """Ends slurmctld or slurmdbd, which writes its state to disk first; `resume` starts it again."""
        await daemons.end(self.daemons[name], timeout_seconds=30)

    async def resume(self, name: str) -> None:
        """Starts again what `halt` ended."""
        await {"slurmctld": self._start_slurmctld, "slurmdbd": self._start_slurmdbd}[name]()

    def ended_jobs(self) -> str:
        """slurmctld's own log of attempts that ended, by the plug-in jobcomp/filetxt: independent of slurmdbd."""
        path = self.layout.log("jobs")
        return path.read_text(errors="replace") if path.exists() else ""

    def lose_counters(self) -> None:
        """Removes the files that hold what accounts and QOS used; slurmctld must be halted."""
        for name in COUNTER_FILES:
            for path in (self.layout.directory / "state").glob(f"{name}*"):
                path.unlink()

    async def died(self) -> SlurmUnavailable:
        """Waits until a program ends by itself and says which."""
        waits = {asyncio.create_task(daemon.process.wait()): daemon for daemon in self.daemons.values()}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        daemon = waits[done.pop()]
        return SlurmUnavailable(
            f"{daemon.name} ended with {daemon.process.returncode}: {daemon.last_lines()} (see {daemon.log})"
        )

    async def stop(self) -> None:
        """Ends every program in the right order, then what jobs left, and removes everything but the logs."""
        for name in STOP_ORDER:
            if name in self.daemons:
                await daemons.end(self.daemons[name])
            if name == "slurmd":
                for each in [daemon for key, daemon in self.daemons.items() if key.startswith("slurmd-")]:
                    await daemons.end(each)
                daemons.kill_marked(self.layout.run, spare=[daemon.process.pid for daemon in self.daemons.values()])
        self.daemons.clear()
        preparation.remove(self.layout)
        clocks.sweep()
        self.lock.close()

    def describe(self) -> dict[str, object]:
        """What scripts need to use the cluster; written as slurm.json."""
        return {
            "cluster": self.cluster,
            "bin": str(self.bin),
            "environment": dict(self.environment),
            "users": sorted(self.user_ids),
            "directory": str(self.layout.directory),
        }

    @property
    def _gid(self) -> int:
        return min(self.user_ids.values())

    async def _start_all(self, progress: Progress) -> None:
        progress("munge and MariaDB")
        await asyncio.gather(self._start_munge(), self._start_database())
        progress("slurmdbd")
        await self._start_slurmdbd()
        await self.run("sacctmgr", "-i", "add", "cluster", f"name={self.cluster}")
        progress("slurmctld and slurmd")
        await asyncio.gather(self._start_slurmctld(), self._start_slurmd())
        await daemons.wait_until(self._is_idle, self.daemons["slurmd"], timeout_seconds=60)
        progress(f"cluster {self.cluster} serves {self.options.cpus} CPUs to {len(self.user_ids)} users")

    async def _launch(self, name: str, *arguments: str, key: str = "", **environment: str) -> Daemon:
        argv, key = [str(self.programs.path(name)), *arguments], key or name
        base = clocks.without(self.environment) if name in MACHINE_TIME else self.environment
        variables = {**base, daemons.MARK: str(self.layout.run), **environment}
        self.daemons[key] = await daemons.launch(name, argv, variables, self.layout.log(key), self.layout.directory)
        return self.daemons[key]

    async def _start_munge(self) -> None:
        run, socket_path = self.layout.run / "munge", self.layout.munge_socket
        files = [f"--key-file={run / 'key'}", f"--pid-file={run / 'pid'}", f"--seed-file={run / 'seed'}"]
        log = f"--log-file={self.layout.log('munge')}"
        daemon = await self._launch("munged", "--foreground", "--force", f"--socket={socket_path}", *files, log)
        await daemons.wait_until(lambda: _listens(socket_path), daemon, timeout_seconds=20)

    async def _start_database(self) -> None:
        password = secrets.token_hex(16)
        preparation.write(self.layout.configuration.with_name("slurmdbd.conf"), self._slurmdbd_conf(password), mode=0o600)
        flags = config.mariadb_flags(self.layout, self.programs)
        await self._first_run(flags, config.mariadb_first_run(self.programs, password))
        socket_path = self.layout.database_socket
        network = ["--skip-networking", f"--socket={socket_path}", f"--pid-file={self.layout.run / 'db' / 'pid'}"]
        daemon = await self._launch("mariadbd", *flags, *network)
        await daemons.wait_until(lambda: _listens(socket_path), daemon, timeout_seconds=60)

    async def _first_run(self, flags: Sequence[str], statements: str) -> None:
        argv = [str(self.programs.path("mariadbd")), *flags, "--bootstrap"]
        code, text = await _capture(argv, clocks.without(self.environment), 120, statements)
        if code != 0:
            raise SlurmUnavailable(f"MariaDB's first run ended with {code}: {' | '.join(text.strip().splitlines()[-3:])}")

    def _slurmdbd_conf(self, password: str) -> str:
        return config.slurmdbd_conf(self.options, self.layout, self.programs, self.ports, password)

    async def _start_slurmdbd(self) -> None:
        daemon = await self._launch("slurmdbd", "-D", MYSQL_UNIX_PORT=str(self.layout.database_socket))
        await daemons.wait_until(lambda: _accepts(self.ports.slurmdbd), daemon, timeout_seconds=60)

    async def _start_slurmctld(self) -> None:
        daemon = await self._launch("slurmctld", "-D", "-f", str(self.layout.configuration))
        await daemons.wait_until(lambda: _accepts(self.ports.slurmctld), daemon, timeout_seconds=60)

    async def _start_slurmd(self) -> None:
        names = config.node_names(self.options)
        await asyncio.gather(*(self._start_node(name, port) for name, port in zip(names, self.ports.slurmds, strict=True)))

    async def _start_node(self, name: str, port: int) -> None:
        step, key = str(self.programs.path("slurmstepd")), "slurmd" if port == self.ports.slurmd else f"slurmd-{name}"
        arguments = ("-D", "-c", "-N", name, "-d", step, "-f", str(self.layout.configuration))
        daemon = await self._launch("slurmd", *arguments, key=key)
        await daemons.wait_until(lambda: _accepts(port), daemon, timeout_seconds=60)

    async def _is_idle(self) -> bool:
        return (await self.run("sinfo", "--noheader", "--format=%T", check=False)).strip() == "idle"


def _prepare(directory: Path, options: SlurmOptions, found: Programs, clock: Clock | None) -> Slurm:
    directory.mkdir(parents=True, exist_ok=True)
    directory = directory.resolve()
    lock = preparation.lock(directory)
    preparation.clear_leftovers(directory)
    layout = Layout(directory, Path(tempfile.mkdtemp(prefix="bursar-slurm-", dir="/tmp")))
    preparation.write(directory / "run.json", json.dumps({"run": str(layout.run)}))
    slurmctld, slurmdbd, *slurmds = free_ports(2 + options.nodes)
    ports = Ports(slurmctld, slurmdbd, tuple(slurmds))
    ids = preparation.user_ids(options.users)
    preparation.make_folders(layout)
    preparation.write_files(options, layout, found, ports, ids)
    environment = preparation.environment(options, layout, found)
    environment |= clock.variables(environment["LD_PRELOAD"]) if clock else {}
    return Slurm(options, layout, found, ports, ids, environment, lock)


async def _listens(path: Path) -> bool:
    return await _connects(asyncio.open_unix_connection(path))


async def _accepts(port: int) -> bool:
    return await _connects(asyncio.open_connection("127.0.0.1", port))


async def _connects(attempt: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> bool:
    try:
        _, writer = await attempt
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _capture(
    argv: Sequence[str], environment: Mapping[str, str], timeout_seconds: float, text: str = ""
) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=dict(environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(text.encode()), timeout_seconds)
    except TimeoutError as error:
        await _kill(process)
        raise SlurmUnavailable(f"`{' '.join(argv[:4])}` took over {timeout_seconds:g} s and was ended") from error
    except BaseException:
        await _kill(process)
        raise
    return process.returncode or 0, output.decode(errors="replace")


async def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await process.wait()
