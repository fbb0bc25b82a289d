"""`bursar-agent plan`: the commands of the next cycle, without running one."""

import shutil
import tempfile
from pathlib import Path

from bursar_agent import files, identity, plan, plugins
from bursar_agent.cycle import Cycles
from bursar_agent.desired import DesiredStore
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox
from bursar_agent.promises import Promises
from bursar_agent.settings import AgentSettings
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState


class NothingDesired(Exception):
    """No desired state was fetched yet."""


async def commands(settings: AgentSettings) -> list[str]:
    """Observe and plan over a copy of the journal, so that nothing of the agent's own state moves."""
    directory = settings.state_directory
    known = identity.load(directory, settings.cluster)
    state = DesiredStore(directory).load(settings.cluster, known.fingerprint)
    if state is None:
        raise NothingDesired(f"{directory}: no desired state was fetched yet; run `bursar-agent run` once")
    state = Promises(directory).kept(state)
    if getattr(plugins.find(settings.scheduler), "in_process", False):
        with files.locked(directory):  # such a scheduler lives inside the running agent
            return await _commands(settings, state)
    return await _commands(settings, state)


async def _commands(settings: AgentSettings, state: DesiredState) -> list[str]:
    with tempfile.TemporaryDirectory(prefix="bursar-plan-") as name:
        copy = Path(name)
        for path in settings.state_directory.iterdir():
            if path.is_file() and path.name != "lock":
                shutil.copy2(path, copy / path.name)
        own = settings.model_copy(update={"state_directory": copy})
        scheduler = plugins.connect(own)
        try:
            cycles = Cycles(own, scheduler, Journal(copy), UsageBook(copy, epoch=0), Outbox("plan"))
            observation = await scheduler.observe(state.settings)
            await cycles.count(state, observation)
            planned = plan.make(cycles.situation(state, observation))
            return [*scheduler.render(state.settings, planned.changes), *_remarks(planned)]
        finally:
            await scheduler.close()


def _remarks(planned: plan.Plan) -> list[str]:
    """Why, behind `#`, for people."""
    return [
        f"# {words}"
        for account in planned.accounts.values()
        for words in (*account.reasons, *account.drift, *((account.error,) if account.error else ()))
    ]
