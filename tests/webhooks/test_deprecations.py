"""Deprecations, over a kind of the test's own, for nothing of ours is deprecated yet."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from bursar_crds.common import Model, Resource, StatusModel
from bursar_crds.kinds import KINDS
from bursar_testing.facttable import Table
from bursar_testing.manifests import resource
from bursar_testing.samples import load_sample
from bursar_webhooks.decide import Checks
from bursar_webhooks.deprecations import deprecations


class Part(Model):
    old_word: Annotated[str | None, Field(deprecated="use newWord instead")] = None
    new_word: str | None = None


class ThingSpec(Model):
    parts: tuple[Part, ...] = ()
    favourite: Part | None = None
    size: Annotated[int, Field(deprecated="leave it out, it has no effect")] = 0


class Thing(Resource[ThingSpec, StatusModel]):
    kind: Literal["Thing"] = "Thing"
    status: StatusModel = StatusModel()


def spec(**fields: object) -> dict[str, object]:
    return resource("Thing", "t", fields)


def test_each_deprecated_field_that_is_set_is_named_once_with_what_to_use() -> None:
    thing = Thing.parse(spec(size=0, parts=[{"oldWord": "a"}, {"newWord": "b"}, {"oldWord": "c"}], favourite={"oldWord": "d"}))
    assert sorted(deprecations(thing)) == [
        "spec.favourite.oldWord is deprecated; use newWord instead",
        "spec.parts.oldWord is deprecated; use newWord instead",
        "spec.size is deprecated; leave it out, it has no effect",
    ]


def test_what_is_left_out_is_not_warned_of() -> None:
    assert deprecations(Thing.parse(spec(parts=[{"newWord": "b"}], favourite={}))) == ()


def test_the_webhook_warns_and_lets_it_through() -> None:
    checks: Checks[Thing] = Checks(Thing, lambda *_: [], lambda *_: [], lambda *_: ["another"])
    verdict = checks.judge(spec(size=5), None, Table())
    assert verdict.allowed
    assert verdict.warnings == ("spec.size is deprecated; leave it out, it has no effect", "another")


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_ours_is_deprecated_yet(kind: str) -> None:
    """When this fails: name the field in the changelog and in admission.md, then leave the kind out here."""
    complete = load_sample(f"{kind.lower()}-complete")
    assert deprecations(KINDS[kind].model.parse(complete)) == ()
