"""`python -m bursar_testing.reference`: write the pages that need every part, or compare them with `--check`."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bursar_testing.reference.api import api_page
from bursar_testing.reference.commands import commands_page
from bursar_testing.reference.metrics import metrics_page
from bursar_testing.reference.samples import samples_page
from bursar_testing.reference.settings import settings_page
from bursar_testing.reference.unbuilt import unbuilt_page

ROOT: Final = Path(__file__).parents[4]


def pages() -> Mapping[str, str]:
    """Every page by its path below the root of the repository."""
    return {
        "docs/reference/api.md": api_page(),
        "docs/reference/cli.md": commands_page(),
        "docs/reference/metrics.md": metrics_page(),
        "docs/reference/not-yet-supported.md": unbuilt_page(),
        "docs/reference/samples.md": samples_page(),
        "docs/reference/settings.md": settings_page(),
    }


def stale(root: Path) -> list[str]:
    """Pages that differ from what would be written."""
    return [path for path, text in pages().items() if not (root / path).is_file() or (root / path).read_text() != text]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; with `--check` it writes nothing and fails when a page is stale."""
    parser = argparse.ArgumentParser(prog="python -m bursar_testing.reference", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 when a page is stale")
    check = parser.parse_args(arguments).check
    written, changed = pages(), stale(ROOT)
    for path in changed:
        if not check:
            (ROOT / path).write_text(written[path])
        sys.stdout.write(f"{'stale: run `make generate`' if check else 'wrote'}: {path}\n")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
