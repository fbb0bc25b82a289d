"""Decisions about projects, members, clusters, entries and balances, without any I/O."""

import itertools
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest

from bursar_crds.conditions import find_condition
from bursar_domain import keys
from bursar_domain.enrolment import EnrolRequest
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import fold
from bursar_domain.keys import Signer
from bursar_domain.ladder import Action, Rule
from bursar_domain.projection import Rate
from bursar_domain.terms import Rules, build
from bursar_domain.units import HOUR
from bursar_domain.windows import cut
from bursar_domain.wire import Brake
from bursar_operator.domain import balances, clusters, entries, memberships, periods, projects
from bursar_operator.domain.clusters import AccountsView, AgentView, Patience
from bursar_operator.domain.memberships import AccountView, Snapshot
from bursar_operator.domain.projects import Claim
from bursar_operator.enrolment import Token, decide, read_token
from bursar_testing import manifests

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SECOND = int(NOW.timestamp())
PATIENCE = Patience(120, 3600)
SERIAL = itertools.count()
DAY = 24 * HOUR


def stored(manifest: dict[str, Any], created: str = "2026-01-01T00:00:00Z", **metadata: Any) -> dict[str, Any]:
    """The manifest as the API server would hold it."""
    number = next(SERIAL)
    base = {"uid": f"uid-{number:04}", "creationTimestamp": created, "generation": 1, "resourceVersion": str(number + 1)}
    return manifest | {"metadata": manifest["metadata"] | base | metadata}


def said(status: dict[str, Any], type_: str = "Ready") -> str:
    found = find_condition(status["conditions"], type_)
    return "" if found is None else f"{found['status']}/{found['reason']}"


class TestProjects:
    def claim(self, **changed: Any) -> Claim:
        return Claim(**({"name": "a", "uid": "1", "created": "2026", "account": "acc", "namespace": "ns"} | changed))

    @pytest.mark.parametrize(
        ("other", "settled"),
        [
            ({"created": "2025"}, False),
            ({"created": "2027"}, True),
            ({"uid": "0"}, False),
            ({"created": "2027", "held": True}, False),
            ({"created": "2025", "account": "another", "namespace": "elsewhere"}, True),
            ({"created": "2025", "account": "another"}, False),
        ],
    )
    def test_the_first_one_has_it(self, other: dict[str, Any], settled: bool) -> None:
        rival = self.claim(**({"name": "b", "uid": "2"} | other))
        assert projects.judge(self.claim(), [rival], None, {}, ()).settled is settled

    def test_root_accounts_and_the_systems_namespaces_are_nobodys(self) -> None:
        assert projects.judge(self.claim(), [], None, {"acc": "alpha"}, ()).reason == "AccountReserved"
        assert projects.judge(self.claim(), [], None, {}, ("ns",)).reason == "NamespaceTaken"

    def test_a_namespace_that_goes_away_is_waited_for(self) -> None:
        leaving = {"metadata": {"name": "ns", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
        assert projects.judge(self.claim(), [], leaving, {}, ()).reason == "Waiting"

    def test_the_owner_becomes_a_member_once(self) -> None:
        project = stored(manifests.project("qcd", "al_ice"))
        claim = Claim.of(project)
        first = projects.first_membership(project, claim, [], NOW)
        assert first is not None
        assert first["spec"] == {"user": "al_ice", "role": "Owner"}
        assert "_" not in first["metadata"]["name"]
        assert projects.first_membership(project, claim, [stored(first)], NOW) is None
        other = stored(manifests.member("qcd", "bob", "Owner"))
        assert projects.first_membership(project, claim, [other], NOW) is None


class TestMemberships:
    def snapshot(self, *members: dict[str, Any], accounts: tuple[AccountView, ...] = ()) -> Snapshot:
        return Snapshot("project-qcd", "qcd", [stored(item) for item in members], accounts)

    def test_one_binding_per_role_with_the_issuers_names(self) -> None:
        found = memberships.plan(
            self.snapshot(
                manifests.member("qcd", "bob"), manifests.member("qcd", "amy"), manifests.member("qcd", "o", "Owner")
            ),
            "oidc:",
            NOW,
        )
        assert sorted(found.bindings) == ["bursar-project-member", "bursar-project-owner"]
        subjects = [item["name"] for item in found.bindings["bursar-project-member"]["subjects"]]
        assert subjects == ["oidc:amy", "oidc:bob"]

    def test_ended_and_doubled_memberships_give_no_rights(self) -> None:
        ended = manifests.member("qcd", "bob")
        ended["spec"]["until"] = "2026-05-31T00:00:00Z"
        double = manifests.member("qcd", "amy", "Owner")
        double["metadata"]["name"] = "amy-again"
        snapshot = self.snapshot(ended, manifests.member("qcd", "amy", "Viewer"), double)
        found = memberships.plan(snapshot, "oidc:", NOW)
        assert list(found.bindings) == ["bursar-project-viewer"]
        assert said(found.statuses["bob"]) == "False/MembershipEnded"
        assert said(found.statuses["amy-again"]) == "False/DuplicateMember"
        assert memberships.computing(snapshot.memberships, NOW) == ()

    @pytest.mark.parametrize(
        ("accounts", "wanted"),
        [
            ((), "False/NoCluster"),
            ((AccountView("alpha", False),), "False/AccountPending"),
            ((AccountView("alpha", True),), "True/AccountReady"),
            ((AccountView("alpha", True), AccountView("beta", True, frozenset({"bob"}))), "False/UserMissing"),
        ],
    )
    def test_what_the_schedulers_say(self, accounts: tuple[AccountView, ...], wanted: str) -> None:
        found = memberships.plan(self.snapshot(manifests.member("qcd", "bob"), accounts=accounts), "oidc:", NOW)
        assert said(found.statuses["bob"], "AccountReady") == wanted

    def test_a_namespace_without_project_gives_nothing(self) -> None:
        lost = Snapshot("stray", None, [stored(manifests.member("qcd", "bob"))])
        found = memberships.plan(lost, "oidc:", NOW)
        assert found.bindings == {}
        assert said(found.statuses["bob"]) == "False/ProjectNotFound"

    def test_saying_the_same_again_changes_nothing(self) -> None:
        snapshot = self.snapshot(manifests.member("qcd", "bob"))
        first = memberships.plan(snapshot, "oidc:", NOW).statuses["bob"]
        again = Snapshot("project-qcd", "qcd", [snapshot.memberships[0] | {"status": first}])
        assert memberships.plan(again, "oidc:", datetime(2026, 7, 1, tzinfo=UTC)).statuses["bob"] == first


class TestClusters:
    def agent(self, **changed: Any) -> AgentView:
        base: dict[str, Any] = {
            "version": "1",
            "scheduler_version": "slurm 24",
            "capabilities": (),
            "misses": (),
            "last_seen": SECOND,
            "generation": 3,
            "scheduler_time": SECOND,
            "watermark": SECOND,
        }
        return AgentView(**(base | changed))

    def status(self, agent: AgentView | None, accounts: AccountsView | None = None, **spec: Any) -> dict[str, Any]:
        cluster = stored(manifests.cluster("alpha", **spec))
        return clusters.status(cluster, agent, accounts or AccountsView(), 3, PATIENCE, NOW)

    def test_all_is_well(self) -> None:
        status = self.status(self.agent())
        wanted = {"Ready": "True", "AgentConnected": "True", "Enforceable": "True", "Converged": "True"}
        wanted |= {"DriftDetected": "False", "BrakeEngaged": "False", "UsageStale": "False"}
        assert {item["type"]: item["status"] for item in status["conditions"]} == wanted
        assert status["agent"]["observedGeneration"] == 3

    @pytest.mark.parametrize(
        ("changed", "type_", "wanted"),
        [
            ({"last_seen": SECOND - 121}, "AgentConnected", "False/AgentAway"),
            ({"last_seen": SECOND - 121}, "Ready", "False/AgentAway"),
            ({"generation": 2}, "Converged", "False/Converging"),
            ({"watermark": SECOND - 3601}, "UsageStale", "True/UsageStale"),
            ({"watermark": None}, "UsageStale", "True/UsageStale"),
            ({"brake": Brake(generation=3, changes=("a",), message="7 accounts")}, "BrakeEngaged", "True/BrakeEngaged"),
            ({"brake": Brake(generation=3, changes=("a",), message="7 accounts")}, "Ready", "False/BrakeEngaged"),
        ],
    )
    def test_what_is_wrong_is_said(self, changed: dict[str, Any], type_: str, wanted: str) -> None:
        assert said(self.status(self.agent(**changed)), type_) == wanted

    def test_use_that_ends_by_the_schedulers_clock_is_no_less_current(self) -> None:
        past = SECOND - 10 * 365 * 86_400
        assert said(self.status(self.agent(scheduler_time=past, watermark=past)), "UsageStale") == "False/UsageCurrent"

    def test_accounts_that_fail_or_drift_are_named(self) -> None:
        status = self.status(self.agent(), AccountsView(["qcd"], {"optics": "sacctmgr: no"}))
        assert said(status, "DriftDetected") == "True/DriftDetected"
        assert said(status, "Converged") == "False/EnforcementFailed"

    def test_last_seen_moves_once_a_minute(self) -> None:
        cluster = stored(manifests.cluster("alpha"))
        cluster["status"] = clusters.status(cluster, self.agent(), AccountsView(), 3, PATIENCE, NOW)
        soon = self.agent(last_seen=SECOND + 59, watermark=SECOND + 59, scheduler_time=SECOND + 59)
        assert clusters.status(cluster, soon, AccountsView(), 3, PATIENCE, NOW) == cluster["status"]
        late = self.agent(last_seen=SECOND + 60)
        assert clusters.status(cluster, late, AccountsView(), 3, PATIENCE, NOW) != cluster["status"]

    @pytest.mark.parametrize(("text", "wanted"), [("7", 7), ("-7", 0), ("seven", 0), ("9" * 20, 0), ("²", 0), (None, 0)])
    def test_only_a_number_acknowledges(self, text: str | None, wanted: int) -> None:
        annotations = {} if text is None else {"bursar.dev/acknowledged-generation": text}
        cluster = {"metadata": {"annotations": annotations}}
        assert clusters.released(cluster) == wanted
        assert clusters.acknowledged(cluster, wanted) == wanted
        # A generation that is not there yet was seen by nobody: the brake would be off for ever.
        assert clusters.acknowledged(cluster, wanted - 1) == 0


class TestEntries:
    def allocation(self, granted: int, charged: int, revision: int = 1) -> dict[str, Any]:
        found = stored(manifests.allocation("qcd", "main", "pool", 100, "alpha"))
        found["status"] = {
            "granted": [{"name": "cpu", "hours": granted}],
            "charged": [{"name": "cpu", "hours": charged}],
            "grantRevision": revision,
        }
        return found

    def test_what_was_never_granted_is_not_published(self) -> None:
        assert not entries.is_granted(stored(manifests.allocation("qcd", "new", "pool", 1, "alpha")))
        assert entries.is_granted(self.allocation(0, 0))

    def test_an_entry_is_the_same_whatever_the_order(self) -> None:
        objects = [self.allocation(10, 10) for _ in range(2)]
        one, two = (entries.allocation_entry(item, build(periods.rules_of(item), ())) for item in objects)
        first = entries.account_entry("qcd", "qcd", ("bob",), [one, two])
        assert first.digest() == entries.account_entry("qcd", "qcd", ("bob",), [two, one]).digest()

    def test_what_no_pool_backs_is_seen(self) -> None:
        assert entries.is_overgranted(self.allocation(11, 10))
        assert not entries.is_overgranted(self.allocation(10, 10))
        assert not entries.is_overgranted(self.allocation(0, 10))

    def test_memory_is_counted_as_the_scheduler_does(self) -> None:
        resources = [{"name": "memory", "capacity": 2}, {"name": "gpu", "capacity": 4}]
        found = entries.settings(stored(manifests.cluster("alpha", resources=resources)))
        tracked = [(item.name, item.trackable, item.capacity) for item in found.resources]
        assert tracked == [("gpu", "gres/gpu", 4), ("memory", "mem", 2048)]


class TestBalances:
    def test_what_the_pools_hold_counts_while_a_grant_is_taken_back(self) -> None:
        found = stored(manifests.allocation("qcd", "main", "pool", 100, "alpha"))
        found["status"] = {"granted": [{"name": "cpu", "hours": 0}], "charged": [{"name": "cpu", "hours": 100}]}
        assert balances.held(found) == {"cpu": 100}

    def test_figures_are_those_of_the_window_that_runs(self) -> None:
        start = 1_767_225_600  # 2026-01-01
        spans = cut(start, start + 59 * DAY, "Month", "UTC")
        grant = Entry("g", EntryKind.GRANT, "c", "a", start, "t", "t", uid="u", amounts={"cpu": 5900 * HOUR})
        terms = build(Rules("u", ("cpu",), spans), [grant])
        books = fold([terms], {"cpu": [(start, 3200 * HOUR), (start + 31 * DAY, 1000 * HOUR)]})
        rules = (Rule(40, Action.NOTIFY), Rule(90, Action.HOLD))
        view = balances.View(terms, books, start + 35 * DAY, {"cpu": HOUR}, {"cpu": Rate(7000 * HOUR, 14 * DAY)})
        keys = balances.in_force(view, rules, (start, frozenset({"Hold@Used90"})))
        found = balances.figures(view, rules, keys, datetime.fromtimestamp(start + 33 * DAY, UTC), stale=False)
        assert (found.window_hours, found.used, found.adjusted, found.available) == (
            {"cpu": 2800},
            {"cpu": 1000},
            {"cpu": -100},
            {"cpu": 1700},
        )
        assert (found.committed, found.used_percent, found.coverage_percent) == ({"cpu": 1}, 37, 50)
        assert (found.enforcement, found.exhausted, found.overdrawn) == ("None", False, False)
        assert found.projected_exhaustion == datetime.fromtimestamp(start + 35 * DAY + 1700 * 14 * DAY // 7000, UTC)


class TestEnrolment:
    def request(self, secret: str, cluster: str = "alpha") -> EnrolRequest:
        public = Signer.generate().public_key
        return EnrolRequest(cluster=cluster, public_key=public, mac=keys.enrolment_mac(secret, cluster, public))

    @pytest.mark.parametrize(
        ("token", "outcome"),
        [
            (Token("right", datetime(2026, 6, 1, 1, tzinfo=UTC), "1"), "accepted"),
            (Token("wrong", datetime(2026, 6, 1, 1, tzinfo=UTC), "1"), "wrong-mac"),
            (Token("right", NOW, "1"), "expired"),
            (Token("right", None, "1"), "expired"),
            (None, "used"),
        ],
    )
    def test_only_a_fresh_right_token_is_taken(self, token: Token | None, outcome: str) -> None:
        assert decide(self.request("right"), token, (), NOW).outcome == outcome

    @pytest.mark.parametrize("expires", ["9" * 30, "²", "tomorrow", ""])
    def test_a_secret_of_nonsense_holds_no_token(self, expires: str) -> None:
        data = {"secret": b64encode(b"right").decode(), "expires": b64encode(expires.encode()).decode()}
        assert read_token({"metadata": {"resourceVersion": "1"}, "data": data}) is None

    def test_the_mac_binds_key_and_cluster(self) -> None:
        token = Token("right", datetime(2027, 1, 1, tzinfo=UTC), "1")
        elsewhere = self.request("right", "beta")
        stolen = EnrolRequest(cluster="alpha", public_key=elsewhere.public_key, mac=elsewhere.mac)
        assert decide(stolen, token, (), NOW).outcome == "wrong-mac"
        swapped = EnrolRequest(cluster="beta", public_key=Signer.generate().public_key, mac=elsewhere.mac)
        assert decide(swapped, token, (), NOW).outcome == "wrong-mac"

    def test_a_key_that_is_trusted_already_stays_so(self) -> None:
        request = self.request("right")
        assert decide(request, None, (request.public_key,), NOW).accepted

    def test_nonsense_is_no_key(self) -> None:
        request = EnrolRequest(cluster="alpha", public_key="AAAA", mac="x")
        assert decide(request, None, (), NOW).outcome == "bad-key"
