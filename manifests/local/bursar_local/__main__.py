"""`python -m bursar_local build | controlplane | up | down`, for developers, scripts and tests."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from rich.console import Console

from bursar_local.build import ensure_binary
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.errors import LocalStackError
from bursar_local.files import share
from bursar_local.supervisor import DEFAULT_DIRECTORY, down, up


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False, markup=False)
    try:
        match options.command:
            case "build":
                console.print(str(ensure_binary(console.print)), soft_wrap=True)
                return 0
            case "controlplane":
                return asyncio.run(_control_plane(options.dir, console))
            case "up":
                return up(options.dir, detach=options.detach, kubeconfig=options.kubeconfig, console=console)
            case _:
                return down(options.dir, console=console)
    except LocalStackError as error:
        console.print(f"bursar_local: {error}", soft_wrap=True)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bursar_local", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="build the control plane binary and print its path")
    plane = commands.add_parser("controlplane", help="start only a control plane with the definitions, until Ctrl-C")
    start = commands.add_parser("up", help="start the whole stack")
    start.add_argument("--detach", action="store_true", help="return when everything is ready")
    start.add_argument("--kubeconfig", type=Path, help="use this cluster instead of an own control plane")
    for one in (plane, start, commands.add_parser("down", help="end a stack")):
        one.add_argument("--dir", type=Path, default=DEFAULT_DIRECTORY, help="directory of the stack (default: %(default)s)")
    return parser


async def _control_plane(directory: Path, console: Console) -> int:
    asked = asyncio.Event()
    for which in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(which, asked.set)
    plane = await ControlPlane.start(directory, echo=console.print)
    try:
        await apply_definitions(plane.kubectl, share("crds"))
        console.print(f"export KUBECONFIG={plane.kubeconfig}", soft_wrap=True)
        console.print("Ctrl-C ends it.")
        deaths = [asyncio.create_task(process.wait()) for process in plane.processes]
        stop = asyncio.create_task(asked.wait())
        await asyncio.wait([*deaths, stop], return_when=asyncio.FIRST_COMPLETED)
        dead = next((process for process in plane.processes if process.return_code is not None), None)
        if dead and not asked.is_set():
            raise dead.death()
    finally:
        await plane.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
