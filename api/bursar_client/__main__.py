"""The `bursar` command: each sub-command is a module of its own, loaded when it is called.

Exit codes: 0 done; 1 refused or failed, with the reason; 2 wrong use; 3 nothing to talk to.
"""

import importlib
import sys
from collections.abc import Sequence

import typer

COMMANDS = (
    *("up", "down", "apply", "get", "balance", "usage", "statement", "entries"),
    *("allocations", "audit", "clusters", "explain", "doctor", "uninstall"),
)
MODULES = {"down": "up"}


def build(names: Sequence[str]) -> typer.Typer:
    """The application with these commands only; importing the rest would cost every call."""
    app = typer.Typer(
        name="bursar", help="HPC allocations as Kubernetes resources.", no_args_is_help=True, pretty_exceptions_enable=False
    )
    app.callback()(_options)
    for module in dict.fromkeys(MODULES.get(name, name) for name in names):
        importlib.import_module(f"bursar_client.cli.{module}").register(app)
    return app


def _options() -> None:
    """HPC allocations as Kubernetes resources."""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = [word for word in arguments[:1] if word in COMMANDS]
    build(chosen or COMMANDS)(args=arguments)


if __name__ == "__main__":
    main()
