"""The command `bursar-operator`: settings from the environment, one process, exit status 0 after SIGTERM."""

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Sequence

from bursar_crds.extras import require
from bursar_operator import settings
from bursar_operator.logs import log_to_stderr
from bursar_operator.settings import PREFIX, BadSetting, OperatorSettings

USAGE_ERROR = 2
FAILED = 1
YOUNG_OBJECTS = 20_000  # what comes in a storm is thousands of small objects, none of them in a cycle
NEEDED = ("kopf", "kubernetes", "aiohttp", "sqlalchemy", "alembic", "aiosqlite", "psycopg", "prometheus_client")


def parser() -> argparse.ArgumentParser:
    """The command line: settings come from the environment."""
    return argparse.ArgumentParser(
        prog="bursar-operator",
        description="Decides grants, keeps projects and publishes desired state.",
        epilog=_settings_help(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser().parse_args(arguments)
    require("bursar-operator", "operator", *NEEDED)
    try:
        loaded = settings.load(os.environ)
    except BadSetting as error:
        _fail(str(error), USAGE_ERROR)
    log_to_stderr(loaded.log_level)
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
    _run(loaded)


def _run(loaded: OperatorSettings) -> None:
    from bursar_kube.errors import KubeError, NotConfigured
    from bursar_ledger.errors import LedgerError
    from bursar_operator.app import Operator, TermOver
    from bursar_operator.signing import BadSigningKey

    async def run() -> None:
        await Operator(loaded).run()

    try:
        asyncio.run(run())
    except (BadSigningKey, NotConfigured, LedgerError) as error:
        _fail(str(error), USAGE_ERROR)
    except (KubeError, TermOver, OSError) as error:
        _fail(str(error), FAILED)


def _fail(message: str, status: int) -> None:
    sys.stderr.write(f"bursar-operator: {message}\n")
    sys.exit(status)


def _settings_help() -> str:
    fields = OperatorSettings.model_fields.items()
    return "settings (environment):\n" + "\n".join(f"  {PREFIX}{name.upper()}: {field.description}" for name, field in fields)


if __name__ == "__main__":
    main()
