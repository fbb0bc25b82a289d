"""Folders, files, ports, users and the lock of one throw-away Slurm, before anything is started."""

import fcntl
import json
import pwd
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from bursar_crds.names import HELP, USER_PATTERN, is_user
from bursar_local.slurm import config, daemons
from bursar_local.slurm.config import Layout, Ports, SlurmOptions
from bursar_local.slurm.errors import SlurmUnavailable
from bursar_local.slurm.programs import Programs

FIRST_UID = 60100
"""Below the ranges of systemd, above those of people; ids that the machine uses are left out."""

MOST_USERS = 1000


def lock(directory: Path) -> IO[str]:
    """Takes the folder for as long as the file is open; a folder in use is an error."""
    handle = (directory / "lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise SlurmUnavailable(f"a throw-away Slurm runs in {directory}: stop it, or give another folder") from error
    return handle


def clear_leftovers(directory: Path) -> None:
    """Ends what an earlier run left: its launcher was killed, so jobs and files may be there still."""
    try:
        run = Path(json.loads((directory / "run.json").read_text())["run"])
    except (OSError, ValueError, KeyError):
        return
    if run.name.startswith("bursar-slurm-"):
        daemons.kill_marked(run)
        remove(Layout(directory, run))


def remove(layout: Layout) -> None:
    """Everything but the logs and the lock."""
    for folder in (layout.run, layout.directory / "db", layout.directory / "state"):
        shutil.rmtree(folder, ignore_errors=True)
    for name in ("run.json", "slurm.json"):
        (layout.directory / name).unlink(missing_ok=True)


def make_folders(layout: Layout) -> None:
    """Fresh folders; those that jobs' users must pass through are open."""
    layout.run.chmod(0o755)
    for folder, mode in (
        (layout.run / "etc", 0o755),
        (layout.run / "munge", 0o755),
        (layout.run / "dev", 0o755),
        (layout.run / "db", 0o700),
        (layout.spool, 0o755),
        (layout.directory / "db", 0o700),
        (layout.directory / "state", 0o700),
        (layout.directory / "log", 0o755),
    ):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        folder.chmod(mode)


def write_files(options: SlurmOptions, layout: Layout, found: Programs, ports: Ports, ids: Mapping[str, int]) -> None:
    """Configuration, user tables and a munge key of our own."""
    passwd, group = config.user_tables(list(ids), list(ids.values()))
    write(layout.configuration, config.slurm_conf(options, layout, found, ports))
    write(layout.configuration.with_name("gres.conf"), config.gres_conf(options, layout))
    write(layout.configuration.with_name("cgroup.conf"), config.CGROUP_CONF)
    for device in layout.devices(options.gpus):
        device.touch()
    write(layout.passwd, passwd)
    write(layout.group, group)
    write(layout.hosts, f"127.0.0.1 {' '.join(config.node_names(options))} localhost\n")
    key = layout.run / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(1024))


def environment(options: SlurmOptions, layout: Layout, found: Programs) -> dict[str, str]:
    """All variables of clients and daemons; nothing of ours is passed on."""
    environment = {
        "PATH": f"{found.bin}:/usr/bin:/bin",
        "SLURM_CONF": str(layout.configuration),
        "LD_PRELOAD": str(found.nss_wrapper),
        "NSS_WRAPPER_PASSWD": str(layout.passwd),
        "NSS_WRAPPER_GROUP": str(layout.group),
        "NSS_WRAPPER_HOSTS": str(layout.hosts),
        "NSS_WRAPPER_HOSTNAME": config.host_name(options),
        "LC_ALL": "C",
        "TZ": "UTC",
    }
    return {**environment, "LD_LIBRARY_PATH": found.library_path} if found.library_path else environment


def user_ids(users: Sequence[str]) -> dict[str, int]:
    """A number for each user that nobody on the machine has."""
    names = list(dict.fromkeys(users))
    if bad := [name for name in names if not is_user(name)]:
        raise SlurmUnavailable(f"user {bad[0]!r}: {HELP[USER_PATTERN]}")
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    free = [number for number in range(FIRST_UID, FIRST_UID + MOST_USERS) if number not in taken]
    if not names or len(names) > len(free):
        raise SlurmUnavailable(f"{len(names)} users: a throw-away Slurm takes 1 to {len(free)}")
    return dict(zip(names, free, strict=False))


def write(path: Path, text: str, *, mode: int = 0o644) -> None:
    """A file that never had another mode."""
    path.touch(mode=mode)
    path.write_text(text)
    path.chmod(mode)
