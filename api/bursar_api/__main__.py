"""`bursar-gateway`: reads its settings, then serves until it is told to stop."""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NoReturn

from pydantic import ValidationError

from bursar_api.settings import Settings
from bursar_crds.extras import require

PREFIX: Final = "BURSAR_GATEWAY_"
USAGE_ERROR: Final = 2
FAILED: Final = 1
SERVER: Final = ("fastapi", "uvicorn", "joserfc", "python_multipart", "prometheus_client")
NEEDED: Final = (*SERVER, "kubernetes", "aiohttp", "sqlalchemy", "alembic", "aiosqlite", "psycopg")


def parser() -> argparse.ArgumentParser:
    """The command line: nearly all settings come from the environment."""
    fields = Settings.model_fields.items()
    lines = [f"  {PREFIX}{name.upper()}: {field.description}" for name, field in fields]
    found = argparse.ArgumentParser(
        prog="bursar-gateway",
        description="The gateway: REST API for people and for agents.",
        epilog="\n".join(["settings (environment):", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    found.add_argument(
        "--dev-identity", action="store_true", help="serve a development issuer on loopback (never in production)"
    )
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point; exit code 2 for a bad setting, which it names."""
    chosen = parser().parse_args(argv)
    require("bursar-gateway", "api", *NEEDED)
    if chosen.dev_identity:
        os.environ["BURSAR_GATEWAY_DEV_IDENTITY"] = "true"
    settings = load()
    from bursar_api.process import serve
    from bursar_kube.errors import KubeError
    from bursar_ledger.errors import LedgerError

    try:
        asyncio.run(serve(settings))
    except (KubeError, LedgerError, OSError) as error:
        sys.stderr.write(f"bursar-gateway: {error}\n")
        sys.exit(FAILED)


def load() -> Settings:
    """The settings, or the end with the names of those that do not fit."""
    unknown = list(misspelt(os.environ))
    if unknown:
        refuse(f"{name}: there is no such setting" for name in unknown)
    try:
        return Settings()
    except ValidationError as error:
        refuse(f"{where(found['loc'])}: {found['msg']}" for found in error.errors())


def misspelt(environment: Iterable[str]) -> Iterator[str]:
    """Variables that look like settings of the gateway and are none."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    return (name for name in sorted(environment) if name.startswith(PREFIX) and name not in known)


def refuse(problems: Iterable[str]) -> NoReturn:
    """End with what to mend."""
    sys.stderr.write("\n".join(["bursar-gateway: bad settings", *(f"  {problem}" for problem in problems)]) + "\n")
    sys.exit(USAGE_ERROR)


def where(location: Sequence[int | str]) -> str:
    """The environment variable behind a settings error."""
    return "BURSAR_GATEWAY_" + "_".join(str(part) for part in location).upper() if location else "BURSAR_GATEWAY_*"


if __name__ == "__main__":
    main()
