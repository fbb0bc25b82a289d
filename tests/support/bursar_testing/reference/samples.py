"""`docs/reference/samples.md`: the manifests that the project carries, and what is in each."""

from collections import Counter
from pathlib import Path
from typing import Final

import yaml

from bursar_testing.reference.markdown import page, table
from bursar_testing.samples import SAMPLES, expected_unsupported, load_sample

EXAMPLES: Final = SAMPLES.parent
INTRODUCTION: Final = "Every manifest that comes with Bursar."
SAMPLES_TEXT: Final = """## One of each kind

The minimal ones have nothing to spare, the complete ones show every field. Where a field is not built yet, the annotation
`bursar.dev/not-yet-supported` lists it and the webhook refuses the object."""
EXAMPLES_TEXT: Final = """## The example site

Two clusters and nine projects that share out the users of the example job log; `make demo` applies them in this order."""


BOOKS_TEXT: Final = """## The books

One file each; `kubectl apply` it to a Bursar that runs."""


def manifest_files() -> list[Path]:
    """Every manifest, samples last."""
    return [*_examples(), *_books(), *sorted(SAMPLES.glob("*.yaml"))]


def _examples() -> list[Path]:
    return sorted(EXAMPLES.glob("*.yaml"))


def _books() -> list[Path]:
    return sorted((EXAMPLES / "books").glob("*.yaml"))


def samples_page() -> str:
    """The page."""
    whole, books = (table(("file", "objects"), ((_link(f), _contents(f)) for f in files)) for files in (_examples(), _books()))
    each = table(
        ("file", "kind", "fields that are refused"),
        ((_link(file), str(load_sample(file.stem)["kind"]), _refused(file)) for file in sorted(SAMPLES.glob("*.yaml"))),
    )
    return page(
        "Sample manifests", INTRODUCTION, f"{SAMPLES_TEXT}\n\n{each}", f"{EXAMPLES_TEXT}\n\n{whole}", f"{BOOKS_TEXT}\n\n{books}"
    )


def _link(file: Path) -> str:
    return f"[{file.name}](../../manifests/{file.relative_to(EXAMPLES.parent)})"


def _contents(file: Path) -> str:
    kinds = Counter(str(document["kind"]) for document in yaml.safe_load_all(file.read_text()) if document)
    return ", ".join(f"{count} {kind}" for kind, count in kinds.items())


def _refused(file: Path) -> str:
    return ", ".join(f"`{field}`" for field in sorted(expected_unsupported(load_sample(file.stem))))
