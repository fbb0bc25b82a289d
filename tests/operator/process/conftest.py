"""A control plane of its own, so that the operator that runs here is the only one that decides on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from bursar_kube.client import Kube
from bursar_ledger.ledger import Ledger
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.files import share
from bursar_local.kubeconfigs import service_account_kubeconfig
from bursar_testing import audit
from bursar_testing.operatorprocess import OperatorProcess, Stack

BOUND_SECONDS = 70.0  # figures that move are written once a minute


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this needs the API server."""
    for item in items:
        if "stack" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.controlplane)


@pytest.fixture(scope="package")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Control plane, definitions, roles, webhook configuration, ledger and one operator with its own rights."""
    folder = tmp_path_factory.mktemp("operator")
    async with AsyncExitStack() as ending:
        plane = await ControlPlane.start(folder / "controlplane", api_server_arguments=audit.arguments(folder))
        ending.push_async_callback(plane.stop)
        await apply_definitions(plane.kubectl, share("crds"))
        for name in ("namespace", "operator", "roles"):
            await plane.kubectl("apply", "-f", str(share("rbac") / f"{name}.yaml"))
        kubeconfig = await service_account_kubeconfig(
            plane.kubectl, folder / "operator.kubeconfig", "bursar-system", "bursar-operator"
        )
        ledger_file = folder / "ledger.db"
        ledger = await Ledger.connect(f"sqlite:///{ledger_file}")
        ending.push_async_callback(ledger.close)
        kube = await Kube.connect(str(plane.kubeconfig))
        ending.push_async_callback(kube.close)
        operator = await OperatorProcess.start(kubeconfig, ledger_file, folder)
        found = Stack(plane.kubectl, kube, ledger, ledger_file, folder, kubeconfig, operator)
        try:
            yield found
        finally:
            await found.operator.stop()


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]:
    """Ask again until the answer is neither None nor False; within a bound that only a failure reaches."""

    async def wait(ask: Callable[[], Awaitable[Any]]) -> Any:
        last: object = None
        for _ in range(int(BOUND_SECONDS * 10)):
            try:
                last = await ask()
                if last is not None and last is not False:
                    return last
            except Exception as error:  # noqa: BLE001, RUF100 - what is not there yet
                last = error
            await asyncio.sleep(0.1)
        raise AssertionError(f"it never came true; last answer: {last!r}")

    return wait
