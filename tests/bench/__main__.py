"""`make bench`: measures what the targets name, beside a baseline of the same run; a table and `build/bench.json`."""

import argparse
import asyncio
import importlib.util
import inspect
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import ModuleType

from rich.console import Console
from rich.table import Table

from bursar_testing.bench import Row

OUTPUT = Path("build/bench.json")
HERE = Path(__file__).parent
BUCKETS = 10_000_000
Suite = Callable[..., Coroutine[None, None, list[Row]]]


def load(name: str) -> ModuleType:
    """A sibling by path: `tests` is no package."""
    spec = importlib.util.spec_from_file_location(f"bursar_bench_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> int:
    """Runs the suites whose names are given, or all. Never fails on a missed bar: a figure is a figure."""
    suites = {path.stem: path for path in sorted(HERE.glob("*.py")) if not path.stem.startswith(("_", "conftest"))}
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("suites", nargs="*", choices=[*suites, []], help=f"any of {', '.join(suites)}; default: all")
    parser.add_argument(
        "--buckets", type=int, default=BUCKETS, help="buckets stored for the balance (books; default %(default)s)"
    )
    options = parser.parse_args()
    chosen = options.suites or list(suites)
    rows: list[Row] = []
    for name in chosen:
        module = load(name)
        if hasattr(module, "run"):
            run: Suite = module.run
            sizes = {"buckets": options.buckets} if "buckets" in inspect.signature(run).parameters else {}
            rows += asyncio.run(run(**sizes))
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    OUTPUT.write_text(json.dumps(rows, indent=2) + "\n")
    Console(width=150).print(table(rows))
    return 0


def table(rows: list[Row]) -> Table:
    """What was measured, against what, and whether the bar was met."""
    drawn = Table(title="Bursar, measured")
    for title in ("name", "value", "unit", "baseline", "ratio", "bar", "met", "note"):
        drawn.add_column(title, justify="right" if title in {"value", "baseline", "ratio"} else "left")
    for row in rows:
        met = {True: "yes", False: "NO", None: "-"}[row["met"]]
        cells = [row["name"], number(row["value"]), row["unit"], number(row["baseline"]), number(row["ratio"])]
        drawn.add_row(*cells, row["bar"] or "", met, row.get("note", ""))
    return drawn


def number(value: float | None) -> str:
    """Three significant figures, or a dash."""
    return "-" if value is None else f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
