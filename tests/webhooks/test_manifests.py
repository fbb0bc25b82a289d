"""The manifests of the webhook: taken by a real API server, and fitting each other. No pod runs here: nothing has kubelets."""

from copy import deepcopy
from typing import Any

import pytest
import yaml

from bursar_crds.kinds import KINDS
from bursar_crds.names import SYSTEM_NAMESPACE
from bursar_local.controlplane import ControlPlane
from bursar_local.files import share
from bursar_webhooks.settings import PREFIX, WebhookSettings, load

FOLDER = share("webhook")
Document = dict[str, Any]


def documents() -> dict[str, Document]:
    found = [item for file in sorted(FOLDER.glob("*.yaml")) for item in yaml.safe_load_all(file.read_text())]
    return {item["kind"]: item for item in found}


@pytest.fixture(scope="module")
def parts() -> dict[str, Document]:
    return documents()


@pytest.fixture(scope="module")
def pod(parts: dict[str, Document]) -> Document:
    spec: Document = parts["Deployment"]["spec"]["template"]["spec"]
    return spec


async def test_a_real_api_server_takes_them(plane: ControlPlane, parts: dict[str, Document]) -> None:
    for document in deepcopy(parts).values():
        document["metadata"]["name"] += "-tried"
        arguments = ("create", "--dry-run=server", "--validate=strict", "-f", "-")
        done = await plane.kubectl(*arguments, input=yaml.safe_dump(document), check=False)
        assert (done.return_code, done.stderr) == (0, ""), document["kind"]


def test_the_failure_policy_is_as_specified(parts: dict[str, Document]) -> None:
    (hook,) = parts["ValidatingWebhookConfiguration"]["webhooks"]
    assert (hook["failurePolicy"], hook["timeoutSeconds"], hook["sideEffects"]) == ("Fail", 3, "None")
    (rule,) = hook["rules"]
    assert rule["apiGroups"] == ["bursar.dev"]
    assert rule["operations"] == ["CREATE", "UPDATE"]
    assert sorted(rule["resources"]) == sorted(info.plural for info in KINDS.values())
    conditions = {item["name"]: item["expression"] for item in hook["matchConditions"]}
    assert f"system:serviceaccount:{SYSTEM_NAMESPACE}:bursar-operator" in conditions["not-the-operator"]
    assert "deletionTimestamp" in conditions["not-being-deleted"]
    assert conditions["spec-changes"] == "oldObject == null || object.spec != oldObject.spec"


def test_the_configuration_calls_the_service_and_the_service_the_pods(parts: dict[str, Document], pod: Document) -> None:
    called = parts["ValidatingWebhookConfiguration"]["webhooks"][0]["clientConfig"]["service"]
    service, labels = parts["Service"], parts["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert (called["namespace"], called["name"]) == (service["metadata"]["namespace"], service["metadata"]["name"])
    (port,) = service["spec"]["ports"]
    assert port["port"] == called["port"]
    assert port["targetPort"] in [item["name"] for item in pod["containers"][0]["ports"]]
    selectors = (
        service["spec"]["selector"],
        parts["Deployment"]["spec"]["selector"]["matchLabels"],
        parts["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        *(item["labelSelector"]["matchLabels"] for item in pod["topologySpreadConstraints"]),
    )
    assert all(selector.items() <= labels.items() for selector in selectors)


def test_one_of_two_is_always_there(parts: dict[str, Document], pod: Document) -> None:
    deployment = parts["Deployment"]["spec"]
    assert deployment["replicas"] >= 2
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert parts["PodDisruptionBudget"]["spec"]["minAvailable"] == 1
    assert "kubernetes.io/hostname" in [item["topologyKey"] for item in pod["topologySpreadConstraints"]]
    (container,) = pod["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < pause < pod["terminationGracePeriodSeconds"] - 6, "what is in flight is answered within six seconds"
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/healthz",
        "liveness": "/healthz",
        "readiness": "/readyz",
    }
    assert {probe["scheme"] for probe in probes.values()} == {"HTTPS"}


def test_the_settings_exist_and_listen_on_the_ports(pod: Document) -> None:
    (container,) = pod["containers"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    settings = load(environment)
    assert settings.address == "0.0.0.0"  # noqa: S104 - in a pod
    assert [item["containerPort"] for item in container["ports"]] == [settings.port]
    assert all(name.removeprefix(PREFIX).lower() in WebhookSettings.model_fields for name in environment)


def test_the_pod_has_no_more_rights_than_it_needs(parts: dict[str, Document], pod: Document) -> None:
    accounts = yaml.safe_load_all((share("rbac") / "webhooks.yaml").read_text())
    assert pod["serviceAccountName"] in [item["metadata"]["name"] for item in accounts if item["kind"] == "ServiceAccount"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"]
    (container,) = pod["containers"]
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
