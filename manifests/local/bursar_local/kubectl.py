"""Runs the kubectl that is built into the control plane binary, against one kubeconfig."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from bursar_local.errors import CommandFailed

_SECONDS = 120.0


@dataclass(frozen=True)
class Completed:
    """How a kubectl call ended."""

    return_code: int
    stdout: str
    stderr: str


@dataclass(frozen=True)
class Kubectl:
    """`await kubectl("get", "ns")`: argv prefix with the kubeconfig and a cache directory of its own."""

    binary: Path
    kubeconfig: Path
    cache: Path

    @property
    def argv(self) -> list[str]:
        """The argv prefix, for callers that run it themselves."""
        return [str(self.binary), "kubectl", f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.cache}"]

    def with_kubeconfig(self, kubeconfig: Path) -> "Kubectl":
        """The same kubectl as another person or program."""
        return Kubectl(self.binary, kubeconfig, self.cache)

    async def __call__(
        self,
        *arguments: str,
        input: str | bytes | None = None,  # noqa: A002 - as subprocess.run calls it
        check: bool = True,
        timeout: float = _SECONDS,
    ) -> Completed:
        """Run kubectl with `arguments` and `input` on standard input; CommandFailed unless it succeeds or `check` is off."""
        child = await asyncio.create_subprocess_exec(
            *self.argv,
            *arguments,
            stdin=asyncio.subprocess.PIPE if input is not None else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        data = input.encode() if isinstance(input, str) else input
        try:
            stdout, stderr = await asyncio.wait_for(child.communicate(data), timeout)
        except BaseException:
            if child.returncode is None:
                child.kill()
                await child.wait()
            raise
        done = Completed(child.returncode or 0, stdout.decode(errors="replace"), stderr.decode(errors="replace"))
        if check and done.return_code:
            raise CommandFailed(["kubectl", *arguments], done.return_code, done.stderr)
        return done
