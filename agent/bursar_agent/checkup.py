"""`bursar-agent doctor`: one finding per thing that must be right."""

from dataclasses import dataclass

from bursar_agent import files, identity, plugins
from bursar_agent.client import MAX_SKEW_SECONDS, Gateway, GatewayAway, GatewayRefused
from bursar_agent.desired import DesiredStore
from bursar_agent.schedulers.base import SchedulerError
from bursar_agent.settings import AgentSettings, BadSetting
from bursar_agent.verify import DesiredState


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, whether it is good, and what to do."""

    what: str
    good: bool
    words: str

    def __str__(self) -> str:
        return f"{'ok  ' if self.good else 'BAD '} {self.what}: {self.words}"


async def examine(settings: AgentSettings) -> list[Finding]:
    """Every finding; one that is bad does not keep the others from being looked at."""
    directory = settings.state_directory
    found = [_private(settings)]
    state: DesiredState | None = None
    try:
        known = identity.load(directory, settings.cluster)
        found.append(Finding("enrolment", True, f"enrolled for {settings.cluster}, key {known.signer.public_key}"))
        state = DesiredStore(directory).load(settings.cluster, known.fingerprint)
        words = f"generation {state.generation}, {len(state.entries)} accounts" if state else "none was fetched yet"
        found.append(Finding("desired state", True, words))
    except (identity.NotEnrolled, files.DamagedFile) as error:
        found.append(Finding("enrolment", False, str(error)))
    found.append(await _gateway(settings))
    return found + await _scheduler(settings, state)


def _private(settings: AgentSettings) -> Finding:
    mode = settings.state_directory.stat().st_mode & 0o077
    words = f"others may enter it; run chmod 700 {settings.state_directory}" if mode else "for its owner alone"
    return Finding("state directory", not mode, words)


async def _gateway(settings: AgentSettings) -> Finding:
    gateway = Gateway(settings.gateway, settings.gateway_ca)
    try:
        await gateway.enrolment("0" * 32)
    except GatewayAway as error:
        return Finding("gateway", False, str(error))
    except GatewayRefused:
        pass  # there is no such enrolment: the answer itself, and its clock, are what was asked for
    finally:
        await gateway.close()
    if gateway.is_skewed:
        return Finding("gateway", False, f"the clocks differ by more than {MAX_SKEW_SECONDS} s; synchronise this host's")
    return Finding("gateway", True, f"{settings.gateway} answers")


async def _scheduler(settings: AgentSettings, state: DesiredState | None) -> list[Finding]:
    try:
        plugin = plugins.find(settings.scheduler)
        plugins.validated(plugin, settings)
    except BadSetting as error:
        return [Finding("scheduler", False, str(error))]
    if state is None:
        return [Finding("scheduler", True, f"plug-in {plugin.name} is there; more once a desired state was fetched")]
    if getattr(plugin, "in_process", False):
        return [Finding("scheduler", True, f"{plugin.name} lives inside the agent")]
    try:
        readiness = await plugins.connect(settings).capabilities(state.settings)
    except (SchedulerError, BadSetting) as error:
        return [Finding("scheduler", False, str(error))]
    good = Finding("scheduler", True, f"{readiness.scheduler} {readiness.version}")
    return [good, *(Finding(miss.reason, False, f"{miss.message}; {miss.remedy}") for miss in readiness.misses)]
