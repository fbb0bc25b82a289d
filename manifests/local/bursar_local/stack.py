"""The whole local stack: control plane, definitions, manifests and parts; started in order, ended in reverse."""

import asyncio
from pathlib import Path

from bursar_local import admission, parts
from bursar_local.authentication import AuthenticationIssuer
from bursar_local.certificates import Authority, KeyPair
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.endpoints import Endpoints, Part
from bursar_local.errors import LocalStackError, NotReady, PartDied, PortTaken
from bursar_local.files import share, write_private
from bursar_local.identity import wait_until_accepted
from bursar_local.kubeconfigs import cluster_entry, service_account_kubeconfig
from bursar_local.kubectl import Kubectl
from bursar_local.layout import Layout, StackPorts
from bursar_local.manifests import apply_manifests
from bursar_local.process import Command, Process
from bursar_local.readiness import Probe, keep_reporting, wait_ready
from bursar_local.state import PartState, Report, State
from bursar_local.toolchain import Echo

_ATTEMPTS = 3
_READY_SECONDS = 90.0
_SECRET_SECONDS = 60.0
_CALLED_SECONDS = 30.0
_PAUSE_SECONDS = 0.25


class Stack:
    """Starts and ends everything. `kubeconfig` names a cluster to use instead of an own control plane."""

    def __init__(self, layout: Layout, binary: Path, *, kubeconfig: Path | None, report: Report, echo: Echo) -> None:
        self.layout = layout
        self._binary = binary
        self._foreign = kubeconfig
        self._report = report
        self._echo = echo
        self._plane: ControlPlane | None = None
        self._foreign_kubectl: Kubectl | None = None
        self._own: list[Process] = []
        self._probes: list[tuple[Process, Probe]] = []
        self._addresses: dict[str, str] = {}

    @property
    def processes(self) -> list[Process]:
        """Every process that runs, in the order of their start."""
        return [*(self._plane.processes if self._plane else []), *self._own]

    async def start(self, supervisor: int) -> Endpoints:
        """Start all and return the endpoints when every part is ready; on an error everything is ended again."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._start_once(supervisor)
            except PortTaken:
                # Somebody took a port between our look and the part's bind: the next round chooses anew.
                await self.stop()
                if attempt == _ATTEMPTS:
                    raise
            except BaseException:
                await self.stop()
                raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def stop(self) -> None:
        """End everything in reverse order. Idempotent."""
        Endpoints.path(self.layout.directory).unlink(missing_ok=True)
        self._probes.clear()
        while self._own:
            process = self._own[-1]
            self._report(PartState(process.name, State.STOPPING))
            await process.stop()
            self._report(PartState(process.name, State.ENDED))
            self._own.pop()
        if self._foreign_kubectl:
            await admission.remove(self._foreign_kubectl)
            self._foreign_kubectl = None
        if self._plane:
            await self._plane.stop()
            self._plane = None

    async def first_death(self) -> PartDied:
        """Wait until some part ends by itself; how it ended."""
        waits = {asyncio.create_task(process.wait()): process for process in self.processes}
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
        process = waits[done.pop()]
        self._report(PartState(process.name, State.DIED))
        return process.death()

    async def keep_reporting(self) -> None:
        """Report it when a part stops being ready, or becomes so again; ends by cancellation only."""
        await keep_reporting([*(self._plane.probes if self._plane else []), *self._probes], self._report)

    async def _start_once(self, supervisor: int) -> Endpoints:
        ports = self.layout.choose_ports()
        authority = Authority.load_or_create(self.layout.pki, "ca")
        server = authority.issue_server("gateway")
        kubectl = await self._cluster(ports, authority)
        self._echo("Applying definitions, roles, policies and the webhook configuration")
        await apply_definitions(kubectl, share("crds"))
        await apply_manifests(kubectl, parts.webhooks_url(ports), development_groups=self._foreign is None)
        for account in parts.SERVICE_ACCOUNTS:
            await service_account_kubeconfig(kubectl, self.layout.kubeconfig(account), parts.SYSTEM_NAMESPACE, account)
        await self._parts(kubectl, ports, authority, server)
        return await self._endpoints(kubectl, ports, authority, supervisor)

    async def _cluster(self, ports: StackPorts, authority: Authority) -> Kubectl:
        if self._foreign:
            self._echo(
                f"Using the cluster of {self._foreign}. Its API server must trust the users' issuer for their writes to pass"
            )
            kubectl = Kubectl(self._binary, self._foreign, self.layout.directory / "kubectl-cache")
            await admission.refuse_installed(kubectl)
            self._foreign_kubectl = kubectl
            return kubectl
        issuer = AuthenticationIssuer(parts.issuer_url(ports), authority.certificate_file.read_text())
        self._plane = await ControlPlane.start(
            self.layout.control_plane, authentication=issuer, binary=self._binary, report=self._report
        )
        return self._plane.kubectl

    async def _parts(self, kubectl: Kubectl, ports: StackPorts, authority: Authority, server: KeyPair) -> None:
        """All at once: the API server looks for the issuer only every ten seconds, and each part waits for what it needs."""
        trusted = authority.certificate_file
        operator = await self._launch(parts.operator(self.layout, ports), parts.operator_url(ports))
        webhooks = await self._launch(parts.webhooks(self.layout, ports), parts.webhooks_url(ports))
        gateway = await self._launch(parts.gateway(self.layout, ports, server, trusted), parts.gateway_url(ports))
        await self._ready(operator, None)
        await self._ready(gateway, trusted)
        await self._ready(webhooks, await self._webhook_authority(kubectl))
        await self._webhook_called(kubectl)
        if self._plane:
            secret = self.layout.identity_secret.read_text()
            await wait_until_accepted(parts.issuer_url(ports), trusted, self._plane, self.layout.users[0], secret)

    async def _launch(self, command: Command, address: str) -> Process:
        process = await Process.start(command, self.layout.directory)
        self._own.append(process)
        self._addresses[process.name] = address
        self._report(PartState(process.name, State.STARTING, address, process.log, process.pid))
        return process

    async def _ready(self, process: Process, trust: Path | None) -> None:
        probe = Probe(f"{self._addresses[process.name]}/readyz", trust)
        await wait_ready(process, probe, _READY_SECONDS, self.processes)
        self._probes.append((process, probe))
        self._report(PartState(process.name, State.READY))

    async def _webhook_authority(self, kubectl: Kubectl) -> Path:
        """The authority that the operator made for the webhook, as a file, once it is there."""
        for _ in range(int(_SECRET_SECONDS / _PAUSE_SECONDS)):
            if died := next((process for process in self.processes if process.return_code is not None), None):
                raise died.death()
            secret = ("get", "secret", parts.WEBHOOK_SECRET, f"--namespace={parts.SYSTEM_NAMESPACE}")
            answer = await kubectl(*secret, "-o", 'go-template={{index .data "ca.crt" | base64decode}}', check=False)
            if answer.return_code == 0 and "BEGIN CERTIFICATE" in answer.stdout:
                return write_private(self.layout.pki / "webhook-ca.crt", answer.stdout)
            await asyncio.sleep(_PAUSE_SECONDS)
        reason = f"the operator made no Secret {parts.SYSTEM_NAMESPACE}/{parts.WEBHOOK_SECRET}"
        raise NotReady("webhooks", _SECRET_SECONDS, reason, self._own[-1].log)

    async def _webhook_called(self, kubectl: Kubectl) -> None:
        refusal = await admission.wait_until_called(kubectl, _CALLED_SECONDS)
        if refusal and self._plane:
            raise LocalStackError(f"the API server does not reach the webhook: {refusal}")
        if refusal:
            await admission.remove(kubectl)
            self._echo("This cluster does not reach the webhook on this machine: refusals come from the operator, not at apply")

    async def _endpoints(self, kubectl: Kubectl, ports: StackPorts, authority: Authority, supervisor: int) -> Endpoints:
        entry = await cluster_entry(kubectl)
        addresses = dict(self._addresses)
        if self._plane:
            addresses |= self._plane.addresses
        return Endpoints(
            directory=self.layout.directory,
            kubeconfig=kubectl.kubeconfig,
            kubectl=tuple(kubectl.argv),
            apiserver=entry.url,
            gateway=parts.gateway_url(ports),
            ca=authority.certificate_file,
            issuer=parts.issuer_url(ports),
            dev_identity_secret=self.layout.identity_secret,
            users=self.layout.users,
            ledger=self.layout.ledger_url,
            supervisor=supervisor,
            parts=tuple(Part(name=one.name, pid=one.pid, address=addresses[one.name], log=one.log) for one in self.processes),
        )
