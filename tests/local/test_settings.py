"""The small decisions of the launcher: which cluster, which files, what is shown."""

import io
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from bursar_local import parts
from bursar_local.board import Board
from bursar_local.endpoints import Endpoints, Part
from bursar_local.errors import LocalStackError
from bursar_local.files import private_directory, share
from bursar_local.layout import Layout, StackPorts
from bursar_local.manifests import by_url
from bursar_local.state import PartState, State
from bursar_local.supervisor import kubeconfig_of_environment


@pytest.mark.parametrize("name", ["crds", "examples", "rbac", "webhook", "controlplane"])
def test_shared_files_are_found(name: str) -> None:
    assert any(share(name).iterdir())


def test_a_folder_that_others_use_is_not_taken_over(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    assert private_directory(shared).stat().st_mode & 0o777 == 0o700
    (shared / "theirs").write_text("")
    shared.chmod(0o755)
    with pytest.raises(LocalStackError, match="choose a new or empty folder"):
        private_directory(shared)
    assert shared.stat().st_mode & 0o777 == 0o755
    with pytest.raises(LocalStackError, match="choose another"):
        private_directory(shared / "theirs")


def test_missing_shared_files_are_named() -> None:
    with pytest.raises(LocalStackError, match="'nothing-like-it' are missing"):
        share("nothing-like-it")


def test_another_cluster_is_used_when_the_environment_names_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert kubeconfig_of_environment(tmp_path) is None
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "other"))
    assert kubeconfig_of_environment(tmp_path) == tmp_path / "other"
    # Whoever followed the hint of the last run has our own file there.
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "controlplane" / "kubeconfig"))
    assert kubeconfig_of_environment(tmp_path) is None
    monkeypatch.setenv("KUBECONFIG", "/one:/two")
    with pytest.raises(LocalStackError, match="--kubeconfig"):
        kubeconfig_of_environment(tmp_path)


def test_endpoints_come_back_as_they_were_written(tmp_path: Path) -> None:
    part = Part(name="gateway", pid=7, address="https://127.0.0.1:1", log=tmp_path / "log")
    endpoints = Endpoints(
        directory=tmp_path,
        kubeconfig=tmp_path / "kubeconfig",
        kubectl=("kubectl",),
        apiserver="https://127.0.0.1:2",
        gateway="https://127.0.0.1:1",
        ca=tmp_path / "ca.crt",
        issuer="https://127.0.0.1:3",
        dev_identity_secret=tmp_path / "secret",
        users=("alice",),
        ledger="sqlite:////ledger.db",
        supervisor=5,
        parts=(part,),
    )
    path = endpoints.write()
    assert path.stat().st_mode & 0o777 == 0o600
    assert '"devIdentitySecret"' in path.read_text()
    assert Endpoints.read(tmp_path) == endpoints


def test_endpoints_of_a_stack_that_is_down_say_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match=f"bursar up --dir {tmp_path}"):
        Endpoints.read(tmp_path)


def test_every_webhook_is_called_by_address(tmp_path: Path) -> None:
    service = {"clientConfig": {"service": {"name": "bursar-webhooks"}}}
    document = {"kind": "ValidatingWebhookConfiguration", "webhooks": [{"name": "a", **service}, {"name": "b", **service}]}
    rewritten = by_url(document, "https://127.0.0.1:1/validate")
    config = {"clientConfig": {"url": "https://127.0.0.1:1/validate"}}
    assert rewritten["webhooks"] == [{"name": "a", **config}, {"name": "b", **config}]
    assert document["webhooks"][0]["clientConfig"] == service["clientConfig"]  # type: ignore[index]


def test_secrets_and_users_are_made_once_and_kept(tmp_path: Path) -> None:
    first = Layout.prepare(tmp_path)
    secret = first.identity_secret.read_text()
    assert len(secret) >= 32
    assert first.users == ("alice", "bob", "carol", "dana", "erin")
    first.users_file.write_text(yaml.safe_dump({"zoe": {"groups": []}}))
    second = Layout.prepare(tmp_path)
    assert (second.identity_secret.read_text(), second.users) == (secret, ("zoe",))
    assert second.choose_ports() == second.choose_ports()


def test_parts_get_their_own_kubeconfig_and_no_inherited_one(tmp_path: Path) -> None:
    layout, ports = Layout.prepare(tmp_path), StackPorts(1, 2, 3, 4)
    for command in (parts.operator(layout, ports), parts.webhooks(layout, ports)):
        named = [value for name, value in command.environment.items() if name.endswith("_KUBECONFIG")]
        assert named == [str(layout.kubeconfig(f"bursar-{command.name}"))]
        assert "KUBECONFIG" in command.unset


@pytest.mark.parametrize("terminal", [True, False])
def test_the_list_names_state_address_and_log_of_each_part(tmp_path: Path, terminal: bool) -> None:
    written = io.StringIO()
    board = Board(Console(file=written, force_terminal=terminal, width=200), tmp_path)
    with board.shown():
        board.report(PartState("gateway", State.STARTING, "https://127.0.0.1:1", tmp_path / "logs" / "gateway.log", 7))
        board.report(PartState("gateway", State.READY))
        board.hint("Everything is ready")
    shown = written.getvalue()
    for text in ("gateway", "ready", "https://127.0.0.1:1", "Everything is ready"):
        assert text in shown
    assert ("logs/gateway.log" in shown) == terminal
