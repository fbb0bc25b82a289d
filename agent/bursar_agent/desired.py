"""The last verified desired state on disk, so that the agent goes on with it when the control plane is away."""

from pathlib import Path

from pydantic import ValidationError

from bursar_agent import verify
from bursar_agent.files import DamagedFile, replace
from bursar_agent.verify import DesiredState
from bursar_domain.wire import Delta


class DesiredStore:
    """`desired.json` of the state directory."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "desired.json"

    def load(self, cluster: str, fingerprint: str) -> DesiredState | None:
        """The state, verified again; DamagedFile where it is not what was signed."""
        if not self._path.exists():
            return None
        try:
            delta = Delta.model_validate_json(self._path.read_bytes())
            return verify.accept(None, delta, cluster, fingerprint)
        except (ValidationError, verify.Refused) as error:
            raise DamagedFile(f"{self._path}: {error}; remove the file to fetch it anew") from error

    def save(self, state: DesiredState) -> None:
        """On disk before anything of it is carried out."""
        replace(self._path, state.dump().canonical())
