"""Control planes start beside each other, survive being killed, and leave nothing behind."""

import asyncio
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from bursar_local import commands
from bursar_local.commands import Ports
from bursar_local.controlplane import PARTS, ControlPlane
from bursar_local.credentials import Credentials
from bursar_local.errors import DirectoryInUse, PartDied, PortTaken
from bursar_local.leftovers import ProcessRecord, end_leftovers, read_record, record_path, remember, start_time
from bursar_local.ports import free_ports
from bursar_local.process import Command, Process
from bursar_local.readiness import Probe, wait_ready


@asynccontextmanager
async def plane_in(directory: Path) -> AsyncIterator[ControlPlane]:
    plane = await ControlPlane.start(directory)
    try:
        yield plane
    finally:
        await plane.stop()


def records(directory: Path) -> list[ProcessRecord]:
    return [record for part in PARTS if (record := read_record(record_path(directory, part)))]


async def until(holds: Callable[[], bool], what: str, attempts: int = 300) -> None:
    for _ in range(attempts):
        if holds():
            return
        await asyncio.sleep(0.1)
    pytest.fail(f"never happened: {what}")


async def test_two_run_side_by_side_and_trust_nothing_of_each_other(bare_controlplane: ControlPlane, tmp_path: Path) -> None:
    async with plane_in(tmp_path) as other:
        assert other.url != bare_controlplane.url
        await other.kubectl("create", "namespace", "only-here")
        here = await bare_controlplane.kubectl("get", "namespace", "only-here", check=False)
        assert "NotFound" in here.stderr
        server = f"--server={other.url}"
        trust = f"--certificate-authority={other.ca_file}"
        foreign = await bare_controlplane.kubectl(server, trust, "get", "namespaces", check=False)
        assert foreign.return_code != 0
        assert "only-here" not in foreign.stdout


async def test_stop_leaves_no_process_and_no_record(tmp_path: Path) -> None:
    async with plane_in(tmp_path):
        running = records(tmp_path)
        assert [record.name for record in running] == list(PARTS)
        assert all(record.alive for record in running)
    assert not any(record.alive for record in running)
    assert not list((tmp_path / "run").iterdir())


async def test_data_and_address_survive_a_kill_of_everything(tmp_path: Path) -> None:
    async with plane_in(tmp_path) as first:
        await first.kubectl("create", "namespace", "kept")
        address = first.url
        for record in records(tmp_path):
            os.kill(record.pid, signal.SIGKILL)
        await until(lambda: not any(record.alive for record in records(tmp_path)), "all parts are dead")
        left = {path: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    for path, content in left.items():
        path.write_bytes(content)
    async with plane_in(tmp_path) as second:
        assert second.url == address
        assert (await second.kubectl("get", "namespace", "kept", "-o", "name")).stdout.strip() == "namespace/kept"


async def test_parts_die_with_a_killed_launcher_and_the_directory_starts_again(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "bursar_local", "controlplane", "--dir", str(tmp_path)]
    launcher = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert launcher.stdout is not None
    try:
        line = await launcher.stdout.readline()
        assert line.decode().startswith("export KUBECONFIG=")
        running = records(tmp_path)
        assert len(running) == len(PARTS)
        with pytest.raises(DirectoryInUse, match="in use"):
            await ControlPlane.start(tmp_path)
    finally:
        launcher.kill()
        await launcher.communicate()
    await until(lambda: not any(record.alive for record in running), "the parts died with their launcher")
    async with plane_in(tmp_path) as again:
        assert (await again.kubectl("get", "--raw", "/readyz")).stdout == "ok"


async def test_a_recorded_process_that_still_runs_is_ended_and_a_stranger_is_not(tmp_path: Path) -> None:
    leftover = await asyncio.create_subprocess_exec("sleep", "600")
    stranger = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        remember(tmp_path, "etcd", leftover.pid)
        # The id was given to somebody else since: same id, other start time.
        path = remember(tmp_path, "kube-apiserver", stranger.pid)
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, "started": content["started"] - 1}))
        record_path(tmp_path, "garbled").write_text("{")
        assert await asyncio.to_thread(end_leftovers, tmp_path) == ["etcd"]
        assert await asyncio.wait_for(leftover.wait(), 10) == -signal.SIGTERM
        assert start_time(stranger.pid) is not None
        assert not list((tmp_path / "run").iterdir())
    finally:
        for one in (leftover, stranger):
            if one.returncode is None:
                one.kill()
                await one.wait()


async def test_ports_of_the_last_run_are_given_up_when_somebody_holds_one(tmp_path: Path) -> None:
    ports = Ports(*free_ports(4))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", ports.api_server))
        holder.listen()
        (tmp_path / "ports.json").write_text(json.dumps(vars(ports)))
        async with plane_in(tmp_path) as plane:
            assert plane.url != f"https://127.0.0.1:{ports.api_server}"


async def test_a_port_taken_in_between_is_told_from_other_deaths(bare_controlplane: ControlPlane, tmp_path: Path) -> None:
    keys = await asyncio.to_thread(Credentials.prepare, tmp_path / "pki")
    ports = Ports(*free_ports(4))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", ports.etcd_client))
        holder.listen()
        process = await Process.start(commands.etcd(bare_controlplane.binary, tmp_path, keys, ports), tmp_path)
        try:
            with pytest.raises(PortTaken, match="address already in use"):
                await wait_ready(process, Probe("https://127.0.0.1:1/health"), 60)
        finally:
            await process.stop()


async def test_a_part_that_dies_is_named_with_its_last_lines(tmp_path: Path) -> None:
    script = "for line in $(seq 100); do echo line $line; done; exit 3"
    process = await Process.start(Command("doomed", ("sh", "-c", script)), tmp_path)
    with pytest.raises(PartDied, match="doomed ended with code 3") as caught:
        await wait_ready(process, Probe("http://127.0.0.1:1/"), 60)
    await process.stop()
    assert caught.value.last_lines[-1] == "line 100"
    assert "line 89" in str(caught.value)
    assert "line 88" not in str(caught.value)


async def test_a_part_that_ignores_the_request_to_end_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 600 & echo $!; while :; do wait; done"
    process = await Process.start(Command("stubborn", ("sh", "-c", script), grace_seconds=0.2), tmp_path)
    await until(lambda: bool(process.last_lines()), "it told its child's id")
    child = int(process.last_lines()[-1])
    await process.stop()
    assert process.return_code == -signal.SIGKILL
    await until(lambda: start_time(child) is None, "the child is gone too")


async def test_the_store_opens_to_the_api_server_alone(bare_controlplane: ControlPlane) -> None:
    keys = bare_controlplane.credentials
    url = f"{bare_controlplane.addresses['etcd']}/health"
    context = ssl.create_default_context(cafile=str(keys.etcd_authority_file))
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            await client.get(url)
    # Not even the administrator of the API server: the store has an authority of its own.
    context.load_cert_chain(keys.admin.certificate, keys.admin.key)
    async with httpx.AsyncClient(verify=context, trust_env=False) as client:
        with pytest.raises((httpx.HTTPError, ssl.SSLError)):
            await client.get(url)


def test_no_other_user_of_the_machine_reads_a_secret(bare_controlplane: ControlPlane) -> None:
    assert bare_controlplane.directory.stat().st_mode & 0o077 == 0
    secret = [bare_controlplane.kubeconfig, *(bare_controlplane.directory / "pki").iterdir()]
    assert [path for path in secret if path.stat().st_mode & 0o077] == []
