"""The operator refuses to start on a bad setting and names it."""

import asyncio
import sys
from pathlib import Path

import pytest

from bursar_operator import settings, signing
from bursar_operator.settings import BadSetting
from bursar_operator.signing import BadSigningKey
from bursar_testing.operatorprocess import clean_environment


def environment(folder: Path, **changed: str | None) -> dict[str, str]:
    given: dict[str, str | None] = {
        "BURSAR_OPERATOR_LEDGER_URL": f"sqlite:///{folder}/ledger.db",
        "BURSAR_OPERATOR_SIGNING_KEY_FILE": f"{folder}/signing.key",
    }
    given |= {f"BURSAR_OPERATOR_{name}": value for name, value in changed.items()}
    return {name: value for name, value in given.items() if value is not None}


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"LEDGER_URL": None}, "BURSAR_OPERATOR_LEDGER_URL: is not set"),
        ({"LEDGER_URL": "ledger.db"}, "BURSAR_OPERATOR_LEDGER_URL"),
        ({"SIGNING_KEY_FILE": "/nowhere/at/all/key"}, "BURSAR_OPERATOR_SIGNING_KEY_FILE: Value error, the folder"),
        ({"KUBECONFIG": "/nowhere/config"}, "BURSAR_OPERATOR_KUBECONFIG"),
        ({"HEALTH_PORT": "99999"}, "BURSAR_OPERATOR_HEALTH_PORT"),
        ({"HELTH_PORT": "9440"}, "BURSAR_OPERATOR_HELTH_PORT: there is no such setting"),
        ({"VALID_DAYS": "0"}, "BURSAR_OPERATOR_VALID_DAYS"),
        ({"LOG_LEVEL": "loud"}, "BURSAR_OPERATOR_LOG_LEVEL"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, changed: dict[str, str | None], named: str) -> None:
    with pytest.raises(BadSetting) as refused:
        settings.load(environment(tmp_path, **changed))
    assert named in str(refused.value)


def test_good_settings_are_read_once_and_stay(tmp_path: Path) -> None:
    loaded = settings.load(environment(tmp_path, HEALTH_PORT="0") | {"PATH": "/bin"})
    assert loaded.health_port == 0
    assert loaded.user_prefix == "oidc:"
    with pytest.raises(ValueError, match="frozen"):
        setattr(loaded, "health_port", 1)  # noqa: B010 - the type checker knows already that it is read-only


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"VALID_DAYS": "many"}, "BURSAR_OPERATOR_VALID_DAYS"),
        ({"LEDGER_URL": "mysql://db/bursar"}, "sqlite:///path/to/ledger.db or postgresql://user:password@host/database"),
        ({"LEDGER_URL": "postgresql://u@127.0.0.1:1/bursar"}, "127.0.0.1:1/bursar does not answer"),
    ],
)
async def test_the_process_ends_at_once_with_one_line(tmp_path: Path, changed: dict[str, str | None], said: str) -> None:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bursar_operator"),
        env=clean_environment() | environment(tmp_path, HEALTH_PORT="0", **changed),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said_so = await asyncio.wait_for(child.communicate(), 60)
    assert child.returncode == 2
    assert said in said_so.decode()
    assert "Traceback" not in said_so.decode()


def test_the_signing_key_is_made_once_and_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    made = signing.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert signing.load_or_create(path).public_key == made.public_key
    path.chmod(0o644)
    with pytest.raises(BadSigningKey, match="chmod 600"):
        signing.load_or_create(path)


def test_a_cut_signing_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "signing.key"
    path.write_bytes(b"short")
    path.chmod(0o600)
    with pytest.raises(BadSigningKey, match="holds 5 bytes, not 32"):
        signing.load_or_create(path)
