"""The programs: those of the machine when all are there, else the distribution's packages unpacked into a private folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from bursar_local import packages
from bursar_local.packages import Bundle, PackagesUnavailable, Progress
from bursar_local.slurm.errors import SlurmUnavailable

PACKAGES = ("slurmctld", "slurmd", "slurmdbd", "slurm-client", "mariadb-server-core", "munge", "libnss-wrapper")
PLUGINS = ("slurm-wlm-basic-plugins", "slurm-wlm-mysql-plugin")
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmstepd")
CLIENTS = ("sacctmgr", "sshare", "sacct", "scontrol", "sbatch", "scancel", "squeue", "sinfo", "sdiag", "sreport")
HOST_TOOLS = ("setpriv", "getent")
DEFAULT_CACHE = Path("/var/cache/bursar/slurm")


@dataclass(frozen=True)
class Programs:
    """Where the programs lie below `root`; with a root of `/` they are the machine's own."""

    root: Path

    def find(self, name: str) -> Path | None:
        """The path of a program."""
        folders = ("usr/sbin", "usr/bin", "usr/local/sbin", "usr/local/bin")
        return next((path for folder in folders if (path := self.root / folder / name).is_file()), None)

    def path(self, name: str) -> Path:
        """Like `find`, but a missing program is an error."""
        found = self.find(name)
        if found is None:
            raise SlurmUnavailable(f"{name} is missing below {self.root}: remove that folder and start again")
        return found

    def missing(self) -> list[str]:
        """The names of everything that is not there."""
        programs = [name for name in (*DAEMONS, *CLIENTS) if self.find(name) is None]
        libraries = [name for name in ("libnss_wrapper.so", "accounting_storage_mysql.so") if self.library(name) is None]
        return programs + libraries

    def library(self, name: str) -> Path | None:
        """The path of a shared library or plug-in."""
        patterns = (
            f"usr/lib/{name}",
            f"usr/lib/*/{name}",
            f"usr/lib/*/slurm*/{name}",
            f"usr/lib64/{name}",
            f"usr/lib64/slurm/{name}",
        )
        return next((path for pattern in patterns for path in sorted(self.root.glob(pattern))), None)

    @property
    def bin(self) -> Path:
        """The folder of the client commands."""
        return self.path("sacctmgr").parent

    @property
    def plugins(self) -> Path:
        """Slurm's plug-in folder."""
        return self._needed_library("accounting_storage_mysql.so").parent

    @property
    def nss_wrapper(self) -> Path:
        """The library that resolves users from files of our own."""
        return self._needed_library("libnss_wrapper.so")

    @property
    def database_share(self) -> Path:
        """MariaDB's folder of messages, character sets and system tables."""
        return next(path for path in (self.root / "usr/share/mysql", self.root / "usr/share/mariadb") if path.is_dir())

    @property
    def library_path(self) -> str | None:
        """LD_LIBRARY_PATH for unpacked programs; none for the machine's own."""
        if self.root == Path("/"):
            return None
        folders = {path.parent for path in self.root.glob("usr/lib/**/*.so*") if path.parent.name.endswith("-linux-gnu")}
        return ":".join(str(folder) for folder in [*sorted(folders), self.plugins])

    def _needed_library(self, name: str) -> Path:
        found = self.library(name)
        if found is None:
            raise SlurmUnavailable(f"{name} is missing below {self.root}: remove that folder and start again")
        return found


def present(cache: Path = DEFAULT_CACHE) -> Programs | None:
    """The programs if all of them are there already: first the machine's own, then those unpacked before."""
    candidates = (Programs(Path("/")), Programs(cache / "root"))
    return next((programs for programs in candidates if not programs.missing()), None)


def why_not(cache: Path = DEFAULT_CACHE) -> str | None:
    """Why the programs can't be had on this machine, or None when they can."""
    if absent := [tool for tool in HOST_TOOLS if shutil.which(tool) is None]:
        return f"{', '.join(absent)} not found: install util-linux and libc-bin"
    if present(cache) is None and (absent := packages.absent_tools()):
        return f"{', '.join(absent)} not found: needs Debian or Ubuntu, or Slurm, MariaDB, munge and libnss-wrapper there"
    return None


async def obtain(cache: Path = DEFAULT_CACHE, progress: Progress = lambda line: None) -> Programs:
    """The programs, unpacked first where they are missing. Several processes may ask at once; one unpacks."""
    if reason := why_not(cache):
        raise SlurmUnavailable(reason)
    if (programs := present(cache)) is not None:
        return programs
    try:
        await packages.unpack_once(
            cache, Bundle(PACKAGES, PLUGINS, _give_plain_names), lambda: present(cache) is not None, progress
        )
    except PackagesUnavailable as error:
        raise SlurmUnavailable(str(error)) from error
    programs = Programs(cache / "root")
    if missing := programs.missing():
        raise SlurmUnavailable(f"the packages {', '.join(PACKAGES)} lack {', '.join(missing)}: this release is not supported")
    return programs


def _give_plain_names(root: Path) -> None:
    """Debian's alternatives, by hand: a daemon started as `slurmctld-wlm` does not know that it is slurmctld, and crashes."""
    for path in (root / "usr/sbin").glob("*-wlm"):
        path.with_name(path.name.removesuffix("-wlm")).symlink_to(path.name)
