"""The sample manifests of `manifests/examples/samples`, for tests that apply, read or complete them."""

from pathlib import Path
from typing import Any

import yaml

SAMPLES = Path(__file__).parents[3] / "manifests" / "examples" / "samples"
NOT_YET_SUPPORTED = "bursar.dev/not-yet-supported"


def sample_files() -> list[Path]:
    """Every sample, minimal and complete."""
    return sorted(SAMPLES.glob("*.yaml"))


def load_sample(name: str) -> dict[str, Any]:
    """The sample `name` as the API server would get it: times are text."""
    document: dict[str, Any] = yaml.load((SAMPLES / f"{name}.yaml").read_text(), Loader=yaml.BaseLoader)  # noqa: S506 - reads text only
    return {key: _typed(value) for key, value in document.items()}


def expected_unsupported(document: dict[str, Any]) -> set[str]:
    """The fields that the sample marks as not built yet."""
    marked = document["metadata"].get("annotations", {}).get(NOT_YET_SUPPORTED, "")
    return {field.strip() for field in marked.split(",") if field.strip()}


def _typed(value: Any) -> Any:
    """BaseLoader reads all scalars as text; numbers become numbers again, times stay text."""
    if isinstance(value, dict):
        return {key: _typed(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_typed(child) for child in value]
    return int(value) if value.isdigit() else value
