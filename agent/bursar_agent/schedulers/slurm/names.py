"""The last check before a name reaches an argument: Slurm reads commas, brackets and `=` in it as more than a name."""

import re
from collections.abc import Iterable
from typing import Final

from bursar_agent import qosnames
from bursar_agent.schedulers.base import AccountChange
from bursar_crds import names
from bursar_domain.wire import ClusterSettings

MARK: Final = re.compile(r"bursar:[a-z0-9._:/-]{1,100}")
"""Description of an account that is ours; Slurm stores it in lower case."""
MOST_MARKS: Final = 8  # of its own for each; more at once share one, and so a command

SCHEDULER_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,39}")
SLURM_ROOT: Final = "root"
_TRACKABLE: Final = re.compile(names.TRACKABLE_PATTERN)
_HIGHEST: Final = 2**53
_LOWEST: Final = -1


class BadName(ValueError):
    """A name or number that may not reach Slurm; the text says which and what is allowed."""


def is_mark(description: str) -> bool:
    """Whether a description marks an account as ours."""
    return MARK.fullmatch(description) is not None


def check_settings(settings: ClusterSettings) -> None:
    """The cluster, its root account and its resources."""
    if not SCHEDULER_NAME.fullmatch(settings.scheduler_name):
        raise BadName(f"cluster {settings.scheduler_name!r}: 1 to 40 of a-z, 0-9, _, . and -")
    if settings.root_account != SLURM_ROOT:
        _check_account(settings.root_account)
    _check_tres(resource.trackable for resource in settings.resources)


def check_change(change: AccountChange) -> None:
    """Every name and number of a change."""
    _check_account(change.account)
    if change.parent and change.parent != SLURM_ROOT:
        _check_account(change.parent)
    if change.description and not is_mark(change.description):
        raise BadName(f"description {change.description!r}: bursar: and up to 100 of a-z, 0-9, ., _, :, / and -")
    if change.create and not change.description:
        raise BadName(f"account {change.account}: an account is created with a description that marks it as ours")
    if change.qos and not SCHEDULER_NAME.fullmatch(change.qos):
        raise BadName(f"QOS {change.qos!r}: 1 to 40 of a-z, 0-9, _, . and -")
    _check_qoses(change)
    for user in change.add_members | change.remove_members | change.inherit_qos:
        if not names.is_user(user):
            raise BadName(f"user {user!r}: {names.HELP[names.USER_PATTERN]}")
    for amounts in (change.limits, change.run_minutes, change.concurrent):
        _check_tres(amounts)
        _check_numbers(amounts.values())


def _check_qoses(change: AccountChange) -> None:
    """QOSes of ours alone are written, or given to an account in limit mode QOS."""
    for name in (*(item.name for item in change.qoses), *(change.qos_list or ())):
        if not qosnames.is_ours(name):
            raise BadName(f"QOS {name!r}: one that carries a ceiling is called bq-, an account's name, - and 8 of 0-9 and a-f")
    for item in change.qoses:
        if item.create and not is_mark(item.description):
            raise BadName(f"QOS {item.name}: it is made with a description that marks it as ours")
        for amounts in (item.limits, item.run_minutes):
            _check_tres(amounts)
            _check_numbers(amounts.values())


def _check_account(name: str) -> None:
    if not names.is_account(name):
        raise BadName(f"account {name!r}: {names.HELP[names.ACCOUNT_PATTERN]}, and not root")


def _check_tres(trackables: Iterable[str]) -> None:
    for name in trackables:
        if not _TRACKABLE.fullmatch(name):
            raise BadName(f"TRES {name!r}: such as cpu, mem or gres/gpu")


def _check_numbers(numbers: Iterable[int]) -> None:
    for number in numbers:
        if type(number) is not int or not _LOWEST <= number <= _HIGHEST:
            raise BadName(f"limit {number!r}: a whole number from -1 (no limit) to {_HIGHEST}")
