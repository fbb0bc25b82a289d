"""What an uninstall finds: every part of an installation carries the label by which it is taken out again."""

import pytest
import yaml

from bursar_client.uninstall import PART_OF
from bursar_local.files import share


@pytest.mark.parametrize("folder", ["rbac", "policies", "webhook"])
def test_every_part_carries_the_label_by_which_it_goes(folder: str) -> None:
    files = sorted(share(folder).rglob("*.yaml"))
    parts = [document for file in files for document in yaml.safe_load_all(file.read_text()) if document]
    label, _, value = PART_OF.partition("=")
    unmarked = [
        f"{item['kind']} {item['metadata']['name']}" for item in parts if item["metadata"].get("labels", {}).get(label) != value
    ]
    assert parts
    assert unmarked == []
