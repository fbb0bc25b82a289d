"""Explore from the command line: ``python -m bursar_testing.grantmodel [--all | --mutants | NAME ...]``."""

import argparse
import sys
import time

from bursar_testing.grantmodel.cases import LARGE, MOST, QUICK
from bursar_testing.grantmodel.exploration import Explored, explore
from bursar_testing.grantmodel.mutants import MUTANTS
from bursar_testing.grantmodel.rules import PRODUCT, Rules
from bursar_testing.grantmodel.setting import Setting


def main() -> int:
    """Say what each exploration found; 1 where it is not what it should be."""
    arguments = _parser().parse_args()
    wrong = 0
    if arguments.mutants:
        for name, mutant in MUTANTS.items():
            wrong += _told(f"without: {name}", mutant.setting, mutant.rules, arguments.most).violation is None
        return int(wrong > 0)
    cases = {**QUICK, **LARGE} if arguments.all or arguments.names else QUICK
    for name, setting in cases.items():
        if not arguments.names or any(part in name for part in arguments.names):
            wrong += _told(name, setting, PRODUCT, arguments.most).violation is not None
    return int(wrong > 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bursar_testing.grantmodel", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of settings")
    parser.add_argument("--all", action="store_true", help="the large settings too")
    parser.add_argument("--mutants", action="store_true", help="every mutant instead; each must fail")
    parser.add_argument("--most", type=int, default=MOST, help="states of one setting (%(default)s)")
    return parser


def _told(name: str, setting: Setting, rules: Rules, most: int) -> Explored:
    began = time.process_time()
    found = explore(setting, rules, most=most)
    seconds = time.process_time() - began
    extent = "complete" if found.complete else "not complete"
    print(
        f"{name}: {found.states} states, {found.transitions} transitions, depth {found.depth}, {extent}, {seconds:.1f} s, "
        f"{found.states / max(seconds, 0.001):.0f} states/s",
        flush=True,
    )
    if found.violation is not None:
        print(found.violation, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
