"""Reasons: each one a word that the schema takes, one sentence, and a line on the reference page."""

import re
from pathlib import Path

import pytest

from bursar_crds.reasons import Reason, explain

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "reasons.md").read_text()


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_reason_is_a_word_with_one_documented_sentence(reason: Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]{1,63}", reason)
    assert re.fullmatch(r"[A-Z].*\.", reason.sentence)
    assert ". " not in reason.sentence
    assert f"| `{reason}` | {reason.sentence} |" in PAGE
    assert explain(str(reason)) == reason.sentence


def test_unknown_word_has_no_sentence() -> None:
    assert explain("Whatever") is None


def test_words_are_the_constants_names() -> None:
    assert [reason.name for reason in Reason] == [re.sub(r"(?<!^)(?=[A-Z])", "_", reason.value).upper() for reason in Reason]
