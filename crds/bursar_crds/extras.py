"""What a program says when the extra of the distribution that it needs is not installed."""

import sys
from importlib.util import find_spec


def require(program: str, extra: str, *modules: str) -> None:
    """End the program with what to install where one of the modules is missing; called before any of them is imported."""
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        sys.stderr.write(
            f"{program}: {', '.join(missing)} {verb} not installed; install bursar[{extra}]: pip install 'bursar[{extra}]'\n"
        )
        sys.exit(1)
