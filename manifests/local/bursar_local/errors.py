"""One error base for the local stack; each error says what happened, to what, and how to mend it."""

from pathlib import Path


class LocalStackError(Exception):
    """Base of everything that this package raises on purpose."""


class ToolchainMissing(LocalStackError):
    """No usable Go toolchain was found and none could be installed."""


class BuildFailed(LocalStackError):
    """The control plane could not be built."""


class DirectoryInUse(LocalStackError):
    """Another live process runs in this directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"{directory} is in use by a stack that runs already. "
            f"Stop it with `bursar down --dir {directory}` (or Ctrl-C in its terminal), or choose another directory with --dir."
        )
        self.directory = directory


class PartDied(LocalStackError):
    """A part ended although nobody asked it to; carries its last log lines."""

    def __init__(self, name: str, return_code: int | None, log: Path, last_lines: list[str]) -> None:
        lines = "\n".join(f"  | {line}" for line in last_lines) or "  | (the log is empty)"
        super().__init__(f"{name} ended with code {return_code}. Its last lines ({log}):\n{lines}")
        self.name = name
        self.return_code = return_code
        self.log = log
        self.last_lines = last_lines


class PortTaken(PartDied):
    """A part ended because its port was taken between choosing and binding it; the caller retries with others."""


class NotReady(LocalStackError):
    """A part lives but did not become ready within its time."""

    def __init__(self, name: str, seconds: float, reason: str, log: Path) -> None:
        super().__init__(f"{name} was not ready within {seconds:.0f} s: {reason}. See its log: {log}")
        self.name = name


class CommandFailed(LocalStackError):
    """A command that the stack ran (kubectl) refused or failed."""

    def __init__(self, argv: list[str], return_code: int, stderr: str) -> None:
        super().__init__(f"`{' '.join(argv)}` failed with code {return_code}: {stderr.strip()}")
        self.return_code = return_code
        self.stderr = stderr
