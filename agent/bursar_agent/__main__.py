"""`bursar-agent`: enrol, run, plan, attest, replay, doctor.

Exit codes: 0 done; 1 not done, the reason is on stderr; 2 wrong use or a bad setting; 3 a log that can't be read; 4 a log
that breaks off (`replay` wrote the books of what came before).
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, NoReturn

import orjson
import structlog
import typer

from bursar_agent.settings import AgentSettings, BadSetting, load
from bursar_crds.extras import require

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Bursar's agent beside one scheduler.")
Config = Annotated[
    Path, typer.Option("--config", "-c", exists=True, dir_okay=False, help="YAML file with the agent's settings.")
]
FAILED, WRONG_USE, UNREADABLE, TRUNCATED = 1, 2, 3, 4


def _stop(code: int, message: str) -> NoReturn:
    typer.echo(f"bursar-agent: {message}", err=True)
    raise typer.Exit(code)


def _needs_the_extra() -> None:
    require("bursar-agent", "agent", "joserfc", "prometheus_client")


def _settings(config: Path) -> AgentSettings:
    try:
        settings = load(config, os.environ)
    except BadSetting as error:
        _stop(WRONG_USE, str(error))
    settings.state_directory.mkdir(mode=0o700, exist_ok=True)
    level = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}[settings.log_level]
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
    )
    return settings


def _run(work: Coroutine[None, None, None]) -> None:
    """Run until it is done, or SIGTERM or SIGINT ends it in good order."""

    async def bounded() -> None:
        task = asyncio.ensure_future(work)
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(bounded())


@app.command()
def enrol(
    config: Config,
    token: Annotated[str | None, typer.Option(help="One-time token of `bursar clusters enrol`; else read from stdin.")] = None,
) -> None:
    """Exchange a one-time token for a key of this agent."""
    _needs_the_extra()
    from bursar_agent import enrolment, files
    from bursar_agent.client import Gateway, GatewayAway, GatewayRefused

    settings = _settings(config)
    text = sys.stdin.readline() if token is None else token

    async def work() -> None:
        gateway = Gateway(settings.gateway, settings.gateway_ca)
        try:
            key = await enrolment.enrol(gateway, settings.state_directory, settings.cluster, text)
            typer.echo(f"enrolled for cluster {settings.cluster} with key {key}")
        finally:
            await gateway.close()

    try:
        with files.locked(settings.state_directory):
            _run(work())
    except (enrolment.EnrolmentRefused, GatewayAway, GatewayRefused, files.StateInUse, files.DamagedFile) as error:
        _stop(FAILED, str(error))


@app.command()
def run(config: Config) -> None:
    """Keep the scheduler as the control plane wants it, until stopped."""
    _needs_the_extra()
    from bursar_agent import files, identity, plugins
    from bursar_agent.loop import Agent
    from bursar_agent.schedulers.base import SchedulerError

    settings = _settings(config)
    directory = settings.state_directory

    async def work() -> None:
        known = identity.load(directory, settings.cluster)
        await Agent(settings, known, plugins.connect(settings)).run()

    try:
        plugins.validated(plugins.find(settings.scheduler), settings)
        with files.locked(directory):
            _run(work())
    except BadSetting as error:
        _stop(WRONG_USE, str(error))
    except (files.StateInUse, files.DamagedFile, identity.NotEnrolled, SchedulerError, OSError) as error:
        _stop(FAILED, str(error))


@app.command()
def plan(config: Config) -> None:
    """Print the exact commands that the next cycle would run, and change nothing."""
    _needs_the_extra()
    from bursar_agent import files, identity, preview
    from bursar_agent.schedulers.base import SchedulerError

    settings = _settings(config)
    try:
        lines = asyncio.run(preview.commands(settings))
    except BadSetting as error:
        _stop(WRONG_USE, str(error))
    except (files.StateInUse, files.DamagedFile, identity.NotEnrolled, preview.NothingDesired, SchedulerError) as error:
        _stop(FAILED, str(error))
    for line in lines:
        typer.echo(line)


@app.command()
def attest(
    account: Annotated[str, typer.Argument(help="Account of the scheduler.")],
    uid: Annotated[str, typer.Argument(help="uid of the Allocation that is being deleted.")],
    revision: Annotated[int, typer.Argument(min=0, help="Its status.grantRevision.")],
    config: Config,
    used_since: Annotated[
        int,
        typer.Option(
            min=0, help="Count use from this second on (epoch, the scheduler's clock): the books know it up to there."
        ),
    ],
    resource: Annotated[
        list[str] | None, typer.Option(help="Resource that it has hours of; again for each. Default: as last heard, or all.")
    ] = None,
) -> None:
    """Print a signed statement that the scheduler lets an allocation's jobs run no longer; the agent must not run meanwhile.

    For a deletion that waits for an agent that can't report: `bursar allocations release` takes it.
    """
    _needs_the_extra()
    from bursar_agent import attest as attesting
    from bursar_agent import files, identity
    from bursar_agent.schedulers.base import SchedulerError

    settings = _settings(config)
    claim = attesting.Claim(account, uid, revision, used_since, tuple(resource or ()))
    try:
        with files.locked(settings.state_directory):
            signed = asyncio.run(attesting.attest(settings, claim))
    except BadSetting as error:
        _stop(WRONG_USE, str(error))
    except (files.StateInUse, files.DamagedFile, identity.NotEnrolled, attesting.NotAttested, SchedulerError, OSError) as error:
        _stop(FAILED, str(error))
    typer.echo(signed.canonical().decode())


@app.command()
def doctor(config: Config) -> None:
    """Look at settings, key, gateway and scheduler, and say what to mend."""
    _needs_the_extra()
    from bursar_agent import checkup

    findings = asyncio.run(checkup.examine(_settings(config)))
    for finding in findings:
        typer.echo(str(finding))
    if any(not finding.good for finding in findings):
        raise typer.Exit(FAILED)


@app.command()
def replay(
    log: Annotated[Path, typer.Argument(help="Job log in Standard Workload Format, gzip or plain.")],
    json: Annotated[str, typer.Option("--json", help="Where to write the books; - for stdout.")] = "-",
) -> None:
    """Book a job log with no control plane: account = group, user = user, cpu seconds = processors x run time."""
    from bursar_agent import replay as replaying
    from bursar_agent import swf

    found = swf.Log()
    try:
        jobs = swf.read(log, found, lambda fault: typer.echo(f"{log}: {fault}; skipped", err=True))
        text = orjson.dumps(replaying.book(jobs, found), option=orjson.OPT_INDENT_2).decode()
    except swf.UnreadableLog as error:
        _stop(UNREADABLE, str(error))
    if json == "-":
        typer.echo(text)
    else:
        try:
            Path(json).write_text(text + "\n")
        except OSError as error:
            _stop(FAILED, f"{json}: {error.strerror}")
    for problem in replaying.problems(found, log):
        typer.echo(problem, err=True)
    if found.truncated:
        raise typer.Exit(TRUNCATED)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
