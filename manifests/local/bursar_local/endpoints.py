"""`endpoints.json`: what scripts need to know about a running stack. Written when all is ready, gone when it ends."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from bursar_local.errors import LocalStackError
from bursar_local.files import write_private


class Part(BaseModel):
    """One process of the stack."""

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int
    address: str
    log: Path


class Endpoints(BaseModel):
    """Every address and file that a script needs."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    version: Literal[1] = 1
    directory: Path
    kubeconfig: Path = Field(description="The administrator's kubeconfig.")
    kubectl: tuple[str, ...] = Field(description="argv prefix of a kubectl that uses it.")
    apiserver: str
    gateway: str
    ca: Path = Field(description="What the gateway's and the issuer's certificates chain to.")
    issuer: str
    dev_identity_secret: Path = Field(description="File with the secret that the development issuer asks for.")
    users: tuple[str, ...] = Field(description="The development users.")
    ledger: str = Field(description="URL of the ledger database.")
    supervisor: int = Field(description="Process id of the launcher.")
    parts: tuple[Part, ...]

    @classmethod
    def path(cls, directory: Path) -> Path:
        """Where the file lies in a stack's directory."""
        return directory / "endpoints.json"

    @classmethod
    def read(cls, directory: Path) -> "Endpoints":
        """The endpoints of the stack in `directory`; LocalStackError where none runs."""
        path = cls.path(directory)
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise LocalStackError(
                f"no stack is up in {directory} ({path} is missing); start one: bursar up --dir {directory}"
            ) from error
        except ValueError as error:
            raise LocalStackError(f"{path} is not readable as endpoints: {error}; end the stack and start it anew") from error

    def write(self) -> Path:
        """Write the file (0600, atomically) and return its path."""
        return write_private(self.path(self.directory), self.model_dump_json(by_alias=True, indent=2) + "\n")
