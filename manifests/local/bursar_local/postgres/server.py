"""One throw-away PostgreSQL: start, make databases, stop and start again, remove."""

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bursar_local.packages import Progress
from bursar_local.ports import free_ports
from bursar_local.postgres import programs
from bursar_local.postgres.errors import PostgresUnavailable
from bursar_local.postgres.programs import DEFAULT_CACHE, Programs
from bursar_local.slurm.daemons import POLL_SECONDS, Daemon, launch

USER: Final = "bursar"
PREFIX: Final = "bursar-postgres-"
STARTER: Final = "starter"
START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
# PostgreSQL refuses to run as root, and wants a user that the machine knows.
IDENTITIES: Final = ("postgres", "nobody")


def can_run(cache: Path = DEFAULT_CACHE) -> str | None:
    """Why a throw-away PostgreSQL can't run here, or None when it can."""
    if os.name != "posix" or not Path("/proc/self/environ").exists():
        return "needs Linux"
    if os.geteuid() == 0 and _identity() is None:
        return f"PostgreSQL does not run as root and the machine has no user {' or '.join(IDENTITIES)}"
    return programs.why_not(cache)


@dataclass
class Postgres:
    """A throw-away server. Its folder lies below /tmp, readable by its own user only; the log stays in ``directory``."""

    programs: Programs
    directory: Path
    data: Path
    port: int
    password: str
    durable: bool
    server: Daemon | None = field(default=None)

    @classmethod
    async def start(
        cls,
        directory: Path,
        *,
        durable: bool = False,
        cache: Path = DEFAULT_CACHE,
        progress: Progress = lambda line: None,
    ) -> "Postgres":
        """Start an empty server; without ``durable`` it never waits for the disk, which a test can do without."""
        if reason := can_run(cache):
            raise PostgresUnavailable(f"the throw-away PostgreSQL can't run here: {reason}")
        found = await programs.obtain(cache, progress)
        postgres = cls(found, directory, _folder(directory) / "data", free_ports(1)[0], secrets.token_hex(16), durable)
        try:
            await postgres._initialise()
            await postgres.start_server()
        except BaseException:
            await postgres.stop()
            raise
        return postgres

    def url(self, database: str) -> str:
        """The URL of a database, as the ledger takes it."""
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    async def create_database(self, name: str) -> str:
        """Make an empty database; its URL."""
        await self._run("createdb", "--template=template0", name)
        return self.url(name)

    async def drop_database(self, name: str) -> None:
        """Remove a database and whoever is connected to it."""
        await self._run("dropdb", "--if-exists", "--force", name)

    async def start_server(self) -> None:
        """Start the server, or start it again on the same port with what it had."""
        log = self.directory / "postgres.log"
        argv = [*_as_user(), str(self.programs.bin / "postgres"), "-D", str(self.data), *self._settings()]
        self.server = await launch("postgres", argv, self._environment(), log, Path("/"))
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        while not await self._accepts():
            late = asyncio.get_running_loop().time() > deadline
            if late or self.server.process.returncode is not None:
                raise PostgresUnavailable(f"postgres does not serve: {self.server.last_lines()} (see {log})")
            await asyncio.sleep(POLL_SECONDS)

    async def stop_server(self) -> None:
        """Close every connection and end the server; what was committed stays."""
        if self.server is None or self.server.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.server.process.send_signal(signal.SIGINT)
        try:
            await asyncio.wait_for(self.server.process.wait(), STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                self.server.process.send_signal(signal.SIGQUIT)
            await self.server.process.wait()

    async def stop(self) -> None:
        """End the server and remove everything but the log."""
        await self.stop_server()
        shutil.rmtree(self.data.parent, ignore_errors=True)

    def _settings(self) -> list[str]:
        values = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "60",
            "shared_buffers": "256MB",
            "max_wal_size": "2GB",
            "timezone": "UTC",
            "lc_messages": "C",
        }
        fast = {} if self.durable else {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        return [part for name, value in (values | fast).items() for part in ("-c", f"{name}={value}")]

    def _environment(self) -> Mapping[str, str]:
        base = {"PATH": f"{self.programs.bin}:/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
        return base if self.programs.library_path is None else {**base, "LD_LIBRARY_PATH": self.programs.library_path}

    async def _initialise(self) -> None:
        folder = self.data.parent
        secret = folder / "password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        if (identity := _identity()) is not None and os.geteuid() == 0:
            for path in (folder, secret):
                os.chown(path, identity.pw_uid, identity.pw_gid)
        options = ["--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--username={USER}", "--no-sync"]
        argv = [*_as_user(), str(self.programs.bin / "initdb"), "-D", str(self.data), *options, f"--pwfile={secret}"]
        await _checked(argv, self._environment())
        secret.unlink()

    async def _run(self, program: str, *arguments: str) -> None:
        address = ["--host=127.0.0.1", f"--port={self.port}", f"--username={USER}"]
        argv = [str(self.programs.bin / program), *address, *arguments]
        await _checked(argv, {**self._environment(), "PGPASSWORD": self.password})

    async def _accepts(self) -> bool:
        try:
            await self._run("pg_isready", "--quiet", "--dbname=postgres")
        except PostgresUnavailable:
            return False
        return True


def _folder(directory: Path) -> Path:
    """A folder that PostgreSQL's user can reach, which the caller's may not be; the log goes to the caller's."""
    directory.mkdir(parents=True, exist_ok=True)
    _clear_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
    (folder / STARTER).write_text(str(os.getpid()))
    return folder


def _clear_leftovers() -> None:
    """Folders whose starter was killed: its server died with it, nobody else removes them."""
    for folder in Path("/tmp").glob(f"{PREFIX}*"):  # noqa: S108 - where PostgreSQL's user can reach it
        with contextlib.suppress(OSError, ValueError):
            if not Path(f"/proc/{int((folder / STARTER).read_text())}").exists():
                shutil.rmtree(folder, ignore_errors=True)


def _identity() -> pwd.struct_passwd | None:
    for name in IDENTITIES:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def _as_user() -> list[str]:
    """Root becomes another user; the kernel ends the server when we die, however we die."""
    identity = _identity()
    if os.geteuid() != 0 or identity is None:
        return []
    # Changing the user clears what `launch` has set, so it is said again.
    become = [f"--reuid={identity.pw_uid}", f"--regid={identity.pw_gid}", "--clear-groups"]
    return ["setpriv", *become, "--pdeathsig", "KILL", "--"]


async def _checked(argv: Sequence[str], environment: Mapping[str, str]) -> None:
    process = await asyncio.create_subprocess_exec(
        *argv,
        env=dict(environment),
        cwd="/",
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), START_SECONDS)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        tail = " | ".join(output.decode(errors="replace").strip().splitlines()[-3:])
        name = next((Path(word).name for word in argv if "postgresql" in word), argv[0])
        raise PostgresUnavailable(f"{name} ended with {process.returncode}: {tail}")
