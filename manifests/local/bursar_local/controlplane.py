"""A real Kubernetes control plane as three child processes: etcd, kube-apiserver, kube-controller-manager.

```python
plane = await ControlPlane.start(directory)
await plane.kubectl("get", "namespaces")
await plane.stop()
```
Data in the directory are kept and reused; several planes run side by side in directories of their own.
"""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path

from bursar_local import commands
from bursar_local.authentication import AuthenticationIssuer, authentication_configuration
from bursar_local.build import ensure_binary
from bursar_local.commands import Ports
from bursar_local.credentials import ADMIN, Credentials
from bursar_local.errors import PortTaken
from bursar_local.files import private_directory, write_private
from bursar_local.kubeconfigs import ClusterEntry, certificate_user, write_kubeconfig
from bursar_local.kubectl import Kubectl
from bursar_local.leftovers import DirectoryLock, end_leftovers
from bursar_local.ports import free_ports, is_free
from bursar_local.process import Command, Process
from bursar_local.readiness import Probe, report_ready
from bursar_local.state import PartState, Report, State, ignore
from bursar_local.toolchain import Echo

PARTS = ("etcd", "kube-apiserver", "kube-controller-manager")
_ATTEMPTS = 5
_READY_SECONDS = 90.0


class ControlPlane:
    """A running control plane. Made by `start`, ended by `stop`."""

    def __init__(self, directory: Path, binary: Path, credentials: Credentials, lock: DirectoryLock, report: Report) -> None:
        self.directory = directory
        self.binary = binary
        self.credentials = credentials
        self.processes: list[Process] = []
        self.probes: list[tuple[Process, Probe]] = []
        self._lock = lock
        self._report = report
        self._ports = Ports(0, 0, 0, 0)

    @classmethod
    async def start(
        cls,
        directory: Path,
        *,
        authentication: AuthenticationIssuer | None = None,
        binary: Path | None = None,
        api_server_arguments: Sequence[str] = (),
        echo: Echo = lambda _: None,
        report: Report = ignore,
    ) -> "ControlPlane":
        """Start in `directory` (created 0700) and return when every part is ready.

        Ends what a killed run left there. Raises DirectoryInUse when a live one runs there, PartDied or NotReady when a part
        fails; nothing is left running then.
        """
        directory = private_directory(directory)
        if binary is None:
            binary = await asyncio.to_thread(ensure_binary, echo)
        lock = DirectoryLock(directory, "controlplane.lock")
        try:
            await asyncio.to_thread(end_leftovers, directory, names=PARTS)
            plane = cls(directory, binary, Credentials.prepare(directory / "pki"), lock, report)
            write_private(plane._authentication_file, authentication_configuration(authentication))
            await plane._start_with_retries(api_server_arguments)
        except BaseException:
            lock.release()
            raise
        return plane

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self._ports.api_server}"

    @property
    def ca_file(self) -> Path:
        """What the API server's certificate chains to."""
        return self.credentials.authority_file

    @property
    def kubeconfig(self) -> Path:
        """Kubeconfig of the administrator (a client certificate in system:masters)."""
        return self.directory / "kubeconfig"

    @property
    def kubectl(self) -> Kubectl:
        """kubectl as the administrator."""
        return Kubectl(self.binary, self.kubeconfig, self.directory / "kubectl-cache")

    @property
    def addresses(self) -> dict[str, str]:
        """The address of each part by its name."""
        ports = (self._ports.etcd_client, self._ports.api_server, self._ports.controller_manager)
        return {name: f"https://127.0.0.1:{port}" for name, port in zip(PARTS, ports, strict=True)}

    async def stop(self) -> None:
        """End all parts, the store last, and give the directory free. Idempotent."""
        try:
            await self._stop_processes()
        finally:
            self._lock.release()

    def kill(self) -> None:
        """End all parts at once, as a crash would; records and data stay as they are."""
        for process in self.processes:
            process.kill()

    async def _start_with_retries(self, api_server_arguments: Sequence[str]) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            self._ports = self._choose_ports()
            try:
                await self._start_processes(api_server_arguments)
            except PortTaken:
                # Somebody bound it between our look and our bind.
                await self._stop_processes()
                if attempt == _ATTEMPTS:
                    raise
            except BaseException:
                await self._stop_processes()
                raise
            else:
                write_private(self._ports_file, json.dumps(vars(self._ports)))
                return

    async def _start_processes(self, api_server_arguments: Sequence[str]) -> None:
        keys, ports = self.credentials, self._ports
        self._write_kubeconfigs()
        await self._start_one(
            commands.etcd(self.binary, self.directory, keys, ports),
            Probe(f"https://127.0.0.1:{ports.etcd_client}/health", keys.etcd_authority_file, keys.etcd_client),
        )
        await self._start_one(
            commands.kube_apiserver(self.binary, keys, ports, self._authentication_file, api_server_arguments),
            Probe(f"{self.url}/readyz", keys.authority_file),
        )
        await self._start_one(
            commands.kube_controller_manager(self.binary, keys, ports, self._controller_kubeconfig),
            Probe(f"https://127.0.0.1:{ports.controller_manager}/healthz", keys.authority_file),
        )

    async def _start_one(self, command: Command, probe: Probe) -> None:
        process = await Process.start(command, self.directory)
        self.processes.append(process)
        await report_ready(process, probe, _READY_SECONDS, self._report)
        self.probes.append((process, probe))

    async def _stop_processes(self) -> None:
        self.probes.clear()
        while self.processes:
            process = self.processes[-1]
            self._report(PartState(process.name, State.STOPPING))
            await process.stop()
            self._report(PartState(process.name, State.ENDED))
            self.processes.pop()

    def _choose_ports(self) -> Ports:
        """The ports of the last run where all are free (so that kubeconfigs handed out stay good), else new ones."""
        try:
            before = Ports(**json.loads(self._ports_file.read_bytes()))
        except (OSError, ValueError, TypeError):
            return Ports(*free_ports(4))
        return before if all(is_free(port) for port in vars(before).values()) else Ports(*free_ports(4))

    def _write_kubeconfigs(self) -> None:
        cluster = ClusterEntry(self.url, self.ca_file.read_text())
        write_kubeconfig(self.kubeconfig, cluster, ADMIN, certificate_user(self.credentials.admin))
        manager = certificate_user(self.credentials.controller_manager)
        write_kubeconfig(self._controller_kubeconfig, cluster, "kube-controller-manager", manager)

    @property
    def _authentication_file(self) -> Path:
        return self.directory / "authentication.yaml"

    @property
    def _controller_kubeconfig(self) -> Path:
        return self.directory / "pki" / "kube-controller-manager.kubeconfig"

    @property
    def _ports_file(self) -> Path:
        return self.directory / "ports.json"
