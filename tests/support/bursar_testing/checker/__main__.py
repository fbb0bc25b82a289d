"""`record` writes a history down (exit status 3 where it has a gap), `check` judges it (1 where something was found)."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bursar_testing.checker.etcd import Files
from bursar_testing.checker.history import read
from bursar_testing.checker.promptness import Span
from bursar_testing.checker.record import record
from bursar_testing.checker.verdict import Terms, judge


def main(arguments: Sequence[str]) -> int:
    """Run one of both."""
    chosen = _parser().parse_args(arguments)
    if chosen.command == "record":
        files = Files(chosen.authority, chosen.certificate, chosen.key)
        return 0 if asyncio.run(record(chosen.store, files, chosen.ledger, chosen.history)) else 3
    accepted = frozenset(chosen.accepted.read_text().split()) if chosen.accepted else frozenset[str]()
    terms = Terms(chosen.recount_seconds, chosen.decide_seconds, chosen.calm, accepted, not chosen.unfinished)
    verdict = judge(read(chosen.history), terms)
    print(json.dumps(verdict.as_json(), indent=1))
    return 1 if verdict.findings else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bursar_testing.checker", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="write a history down until SIGTERM")
    recording.add_argument("history", type=Path)
    recording.add_argument("--store", required=True, help="address of etcd")
    for name in ("authority", "certificate", "key", "ledger"):
        recording.add_argument(f"--{name}", type=Path, required=True)
    checking = commands.add_parser("check", help="judge a history")
    checking.add_argument("history", type=Path)
    checking.add_argument("--recount-seconds", type=float, default=600.0)
    checking.add_argument("--decide-seconds", type=float, default=5.0)
    checking.add_argument("--calm", type=_span, action="append", default=[], metavar="FROM:TO", help="epoch seconds")
    checking.add_argument("--accepted", type=Path, help="file with uids that clients were told are stored")
    checking.add_argument("--unfinished", action="store_true", help="the end is not one at which nothing may be left over")
    return parser


def _span(text: str) -> Span:
    begin, _, end = text.partition(":")
    return float(begin), float(end)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
