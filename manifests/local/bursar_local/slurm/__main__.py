"""`python -m bursar_local.slurm --dir D --cluster alpha --users-file F`: a throw-away Slurm until SIGTERM or Ctrl-C."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from bursar_local.slurm import Slurm, SlurmUnavailable, can_run
from bursar_local.slurm.programs import DEFAULT_CACHE


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bursar_local.slurm", description=__doc__)
    parser.add_argument("--dir", type=Path, help="folder for state, logs and slurm.json (what clients need)")
    parser.add_argument("--cluster", default="alpha", help="the cluster's name in Slurm")
    parser.add_argument("--users-file", type=Path, help="the users of the cluster, one a line; # begins a comment")
    parser.add_argument("--cpus", type=int, default=512, help="CPUs of the one node, however few the machine has")
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="where the packages are unpacked")
    parser.add_argument("--check", action="store_true", help="only say whether it can run here; the exit code is 0 if so")
    arguments = parser.parse_args()
    if not arguments.check and not (arguments.dir and arguments.users_file):
        parser.error("--dir and --users-file are needed")
    return arguments


def _say(line: str) -> None:
    sys.stdout.write(f"slurm: {line}\n")
    sys.stdout.flush()


def read_users(text: str) -> list[str]:
    """The names of a users file."""
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if line]


async def _serve(arguments: argparse.Namespace, users: list[str]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    slurm = await Slurm.start(
        arguments.dir, cluster=arguments.cluster, users=users, cpus=arguments.cpus, cache=arguments.cache, progress=_say
    )
    try:
        _say(f"ready; {slurm.layout.directory / 'slurm.json'} says how to reach it")
        died = asyncio.create_task(slurm.died())
        waiting = asyncio.create_task(ended.wait())
        await asyncio.wait({died, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            raise died.result()
        _say("stopping")
        died.cancel()
    finally:
        await slurm.stop()


def main() -> int:
    """Exit codes: 0 stopped as asked, 1 could not start or a part died, 3 (with --check) can't run here."""
    arguments = _arguments()
    if arguments.check:
        reason = can_run(arguments.cache)
        _say(reason or "can run here")
        return 3 if reason else 0
    try:
        asyncio.run(_serve(arguments, read_users(arguments.users_file.read_text())))
    except SlurmUnavailable as error:
        _say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
