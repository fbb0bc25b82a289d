"""Bad manifests through the whole stack, each way that kubectl has; bad settings of each part."""

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from bursar_testing import manifests as make
from bursar_testing.fullstack import Obj, Ran, Site, fresh

WAYS = {
    "apply": ("apply",),
    "server-side apply": ("apply", "--server-side"),
    "dry run": ("apply", "--dry-run=server"),
    "diff": ("diff",),
}
ACCOUNT = "an account is 2 to 32 of a-z, 0-9 and -"
USER = "a user is 1 to 31 of a-z, 0-9, _ and -"


@dataclass(frozen=True)
class Ground:
    """A cluster that is open, one that lets nobody in, a pool on each, a project; pools nobody and somebody draws on."""

    open: str
    closed: str
    pool: str
    closed_pool: str
    project: str
    shared_pool: str
    empty_pool: str
    drawn_pool: str

    def allocation(self, **spec: Any) -> Obj:
        """One that would fit, but for the fields given."""
        fitting = make.allocation(self.project, fresh("bad"), self.pool, 10, self.open)
        fitting["spec"] |= spec
        return fitting


@pytest.fixture(scope="module")
async def ground(people: Site) -> Ground:
    more = fresh("shared"), fresh("empty"), fresh("drawn")
    names = Ground(fresh("open"), fresh("closed"), fresh("pool"), fresh("closed-pool"), fresh("proj"), *more)
    shared = make.pool(names.shared_pool, names.open, 100)
    shared["spec"]["perProject"] = [{"name": "cpu", "hours": 30}]
    await people.apply(
        make.cluster(names.open),
        make.cluster(names.closed, access={"mode": "AllowList", "projects": ["somebody-else"]}),
        make.project(names.project, "alice"),
        make.pool(names.pool, names.open, 100),
        make.pool(names.closed_pool, names.closed, 100),
        make.pool(names.empty_pool, names.open, 100),
        make.pool(names.drawn_pool, names.open, 100),
        shared,
    )
    await people.until_project(names.project)
    await people.apply(make.allocation(names.project, fresh("drawing"), names.drawn_pool, 10, names.open))
    return names


def account(name: str) -> Obj:
    """A project with that account."""
    document = make.project(fresh("acc"), "alice")
    document["spec"]["account"] = name
    return document


def bad_manifests(ground: Ground) -> dict[str, tuple[Obj, tuple[str, ...]]]:
    """What is wrong -> the manifest, and what must be said: field, reason, remedy."""

    def hours(value: object, name: str = "cpu") -> Obj:
        return ground.allocation(resources=[{"name": name, "hours": value}])

    return {
        # Server-side apply has other words for it: "field not declared in schema".
        "unknown field": (ground.allocation(hourz=5), ("spec.hourz", "field")),
        "negative hours": (hours(-5), ("spec.resources[0].hours", "greater than or equal to 1")),
        "fractional hours": (hours(1.5), ("spec.resources[0].hours", "integer")),
        "end before start": (
            ground.allocation(period={"start": "2027-01-01T00:00:00Z", "end": "2026-06-01T00:00:00Z"}),
            ("spec.period.end", "the end must come after the start; swap them or move the end"),
        ),
        "account that is split": (account("A,b"), ("spec.account", ACCOUNT)),
        "account that is expanded": (account("z[1-3]"), ("spec.account", ACCOUNT)),
        "account that is an option": (account("x=1"), ("spec.account", ACCOUNT)),
        "account that is folded": (account("Physics"), ("spec.account", ACCOUNT)),
        "account that is a flag": (account("-dash"), ("spec.account", ACCOUNT)),
        "user that is an option": (make.member(ground.project, "u") | _member("x=1"), ("spec.user", USER)),
        "no such cluster": (
            ground.allocation(clusterRef={"name": "atlantis"}),
            ("spec.clusterRef", "atlantis", "check the name"),
        ),
        "no access": (
            ground.allocation(clusterRef={"name": ground.closed}, poolRef={"name": ground.closed_pool}),
            ("spec.clusterRef", ground.project, ground.closed),
        ),
        "no such pool": (ground.allocation(poolRef={"name": "puddle"}), ("spec.poolRef", "puddle")),
        "no such resource": (hours(1, "quantum"), ("quantum", "spec.resources[0].name")),
        "too many hours": (hours(101), (f"pool {ground.pool} has 100 of 100 cpu hours left; this asks for 101",)),
        "window of no zone": (
            ground.allocation(recurrence={"every": "Quarter", "timeZone": "Europe/Atlantis"}),
            ("spec.recurrence", "there is no time zone Europe/Atlantis; use a name such as Europe/London, or UTC"),
        ),
        "gate of no tranche": (
            ground.allocation(openedGates=["report"]),
            ("spec.openedGates[0]", "no tranche has the gate report; no tranche has a gate"),
        ),
        "share per member": (
            ground.allocation(perMember=[{"name": "cpu", "hours": 1}]),
            ("spec.perMember", "is not supported yet; leave the field out"),
        ),
        "limit on units at one time": (
            ground.allocation(concurrency=[{"name": "cpu", "count": 1}]),
            ("spec.concurrency", "is not supported yet; leave the field out"),
        ),
        "more than one project may hold": (
            ground.allocation(poolRef={"name": ground.shared_pool}, resources=[{"name": "cpu", "hours": 31}]),
            (f"one project may hold 30 cpu hours of pool {ground.shared_pool}", "Ask for 30", "perProject"),
        ),
        "pool larger than the one above it": (
            make.pool(fresh("large"), ground.open, 101, ground.empty_pool),
            ("spec.resources[0].hours", f"pool {ground.empty_pool} holds 100 cpu hours, fewer than the 101 here"),
        ),
        "pool below a pool that is drawn on": (
            make.pool(fresh("below"), ground.open, 10, ground.drawn_pool),
            ("spec.parentRef.name", f"allocations draw on pool {ground.drawn_pool} itself"),
        ),
    }


def _member(user: str) -> Obj:
    return {"spec": {"user": user, "role": "Member"}}


CASES = sorted(bad_manifests(Ground(*"abcdefgh")))


@pytest.mark.parametrize("case", CASES)
async def test_every_way_to_apply_it_is_refused_with_field_reason_and_remedy(people: Site, ground: Ground, case: str) -> None:
    document, said = bad_manifests(ground)[case]
    ways = WAYS.values()
    answers = await asyncio.gather(*(people.refused(document, *flags, verb=verb) for verb, *flags in ways))
    for way, answer in zip(WAYS, answers, strict=True):
        for words in said:
            assert words in answer, f"{way}: {answer}"
    # Nothing of it was stored, whichever way it came.
    kind, metadata = document["kind"].lower(), document["metadata"]
    namespace = ("-n", metadata["namespace"]) if "namespace" in metadata else ()
    assert "NotFound" in (await people.kubectl("get", f"{kind}.bursar.dev", metadata["name"], *namespace)).err


async def test_every_violated_dimension_is_named_at_once(people: Site, ground: Ground) -> None:
    parent, child = fresh("parent"), fresh("child")
    await people.apply(make.pool(parent, ground.open, 20), make.pool(child, ground.open, 10, parent))
    document = ground.allocation(poolRef={"name": child}, resources=[{"name": "cpu", "hours": 30}])
    said = await people.refused(document)
    assert f"pool {child} has 10 of 10 cpu hours left; this asks for 30. Ask for 10" in said
    assert f"pool {parent} has 20 of 20 cpu hours left; this asks for 30" in said


async def test_a_good_manifest_is_accepted_each_way_and_a_dry_run_stores_nothing(people: Site, ground: Ground) -> None:
    document = ground.allocation()
    name, text = document["metadata"]["name"], yaml.safe_dump(document)
    ran = await people.kubectl("apply", "--dry-run=server", "-f", "-", stdin=text)
    assert ran.code == 0, ran.said
    ran = await people.kubectl("diff", "-f", "-", stdin=text)
    assert ran.code == 1, "a difference is no error"
    assert "NotFound" in (await people.kubectl("get", "alloc", name, "-n", f"project-{ground.project}")).err
    ran = await people.kubectl("apply", "--server-side", "-f", "-", stdin=text)
    assert ran.code == 0, ran.said
    await people.until_allocation(ground.project, name, "Granted")


# Settings


GATEWAY = {
    "LEDGER_URL": "sqlite:///x.db",
    "PORT": "1",
    "TLS_CERTIFICATE": __file__,
    "TLS_KEY": __file__,
    "ISSUER": "https://issuer.example.org",
}
OPERATOR = {"LEDGER_URL": "sqlite:///x.db", "SIGNING_KEY_FILE": "k", "HEALTH_PORT": "0"}
PARTS = {
    "bursar_operator": ("BURSAR_OPERATOR_", OPERATOR),
    "bursar_webhooks": ("BURSAR_WEBHOOKS_", {"PORT": "1"}),
    "bursar_api": ("BURSAR_GATEWAY_", GATEWAY),
}
# What differs from good settings, and the setting that has to be named; None takes all settings away.
BAD_SETTINGS: dict[str, list[tuple[dict[str, str] | None, str]]] = {
    "bursar_operator": [
        ({"HEALTH_PORT": "90000"}, "HEALTH_PORT"),
        ({"LEDGER_URL": "nonsense"}, "LEDGER_URL"),
        ({"KUBECONFIG": "/nowhere"}, "KUBECONFIG"),
        ({"LEGDER_URL": "x"}, "LEGDER_URL"),
        (None, "LEDGER_URL"),
    ],
    "bursar_webhooks": [
        ({"PORT": "many"}, "PORT"),
        ({"STALE_SECONDS": "-1"}, "STALE_SECONDS"),
        ({"PROT": "1"}, "PROT"),
        ({"KUBECONFIG": "/nowhere"}, "KUBECONFIG"),
        (None, "PORT"),
    ],
    "bursar_api": [
        ({"PORT": "0"}, "PORT"),
        ({"ISUER": "x"}, "ISUER"),
        ({"TLS_KEY": "/nowhere"}, "TLS_KEY"),
        ({"KUBECONFIG": "/nowhere"}, "KUBECONFIG"),
        ({"LEDGER_URL": "nonsense"}, "LEDGER_URL"),
        ({"DEV_IDENTITY": "true"}, "DEV_IDENTITY_CERTIFICATE"),
        (None, "LEDGER_URL"),
    ],
}


async def started(people: Site, module: str, *arguments: str, **environment: str) -> Ran:
    """The part, with this environment and nothing else of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BURSAR_", "KUBE"))}
    return await people.run(sys.executable, "-P", "-m", module, *arguments, environment=kept | environment)


@pytest.mark.parametrize("module", PARTS)
async def test_a_part_refuses_to_start_on_a_bad_setting_and_names_it(people: Site, module: str) -> None:
    prefix, good = PARTS[module]

    async def start(bad: dict[str, str] | None) -> Ran:
        settings = {} if bad is None else good | bad
        return await started(people, module, **{f"{prefix}{name}": value for name, value in settings.items()})

    answers = await asyncio.gather(*(start(bad) for bad, _ in BAD_SETTINGS[module]))
    for (bad, named), ran in zip(BAD_SETTINGS[module], answers, strict=True):
        assert ran.code != 0, bad
        assert f"{prefix}{named}" in ran.err, bad
        assert "Traceback" not in ran.err, bad


AGENT: Obj = {"cluster": "alpha", "gateway": "https://127.0.0.1:1", "scheduler": "simulator"}
BAD_AGENTS: list[tuple[Obj, str]] = [
    ({"gateway": "http://127.0.0.1:1"}, "gateway"),
    ({"cluster": "A,b"}, "cluster"),
    ({"schedular": "slurm"}, "schedular"),
    ({"scheduler": "pbs"}, "pbs"),
    ({"scheduler_settings": {"sped": 1}}, "sped"),
    ({"scheduler_settings": {"log": "/nowhere.swf"}}, "log"),
    ({"gateway_ca": "/nowhere.pem"}, "gateway_ca"),
    ({"cycle_interval_seconds": -1}, "cycle_interval_seconds"),
    ({"state_directory": "/dev/null/state"}, "state_directory"),
]


async def test_an_agent_refuses_to_start_on_a_bad_setting_and_names_it(people: Site, tmp_path: Path) -> None:
    async def start(number: int, bad: Obj) -> Ran:
        # Enrolled by hand, so that nothing but the setting is wrong.
        state = tmp_path / f"state{number}"
        state.mkdir(mode=0o700)
        (state / "agent-key").write_bytes(bytes(32))
        (state / "agent-key").chmod(0o600)
        (state / "pinned.json").write_text('{"cluster": "alpha", "fingerprint": "0"}')
        config = tmp_path / f"{number}.yaml"
        config.write_text(yaml.safe_dump({**AGENT, "state_directory": str(state), **bad}))
        return await started(people, "bursar_agent", "run", "--config", str(config))

    answers = await asyncio.gather(*(start(number, bad) for number, (bad, _) in enumerate(BAD_AGENTS)))
    for (bad, named), ran in zip(BAD_AGENTS, answers, strict=True):
        assert ran.code != 0, bad
        assert named in ran.err, bad
        assert "Traceback" not in ran.err, bad
