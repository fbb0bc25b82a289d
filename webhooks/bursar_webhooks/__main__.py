"""Starts the webhook: settings from the environment, one process."""

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence

import structlog

from bursar_crds.extras import require
from bursar_webhooks.settings import PREFIX, BadSetting, WebhookSettings, load


def parser() -> argparse.ArgumentParser:
    """The command line: settings come from the environment."""
    fields = WebhookSettings.model_fields.items()
    lines = [f"  {PREFIX}{name.upper()}: {field.description}" for name, field in fields]
    return argparse.ArgumentParser(
        prog="bursar-webhooks",
        description="Refuses at the API server, early and with reasons, what can't be.",
        epilog="\n".join(["settings (environment):", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point `bursar-webhooks`."""
    parser().parse_args(arguments)
    require("bursar-webhooks", "webhooks", "kubernetes", "aiohttp", "prometheus_client")
    try:
        settings = load(os.environ)
    except BadSetting as error:
        sys.exit(f"bursar-webhooks: {error}")
    _log_from(settings.log_level)
    from bursar_kube.errors import NotConfigured
    from bursar_webhooks.process import run

    try:
        asyncio.run(run(settings))
    except NotConfigured as error:
        sys.exit(f"bursar-webhooks: {error}")


def _log_from(level: str) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]))


if __name__ == "__main__":
    main()
