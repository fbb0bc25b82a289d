"""`bursar-gateway` refuses to start on settings that don't fit, and names each."""

import pytest

from bursar_api.__main__ import main, misspelt

GOOD = {
    "BURSAR_GATEWAY_LEDGER_URL": "sqlite:///ledger.db",
    "BURSAR_GATEWAY_TLS_CERTIFICATE": __file__,
    "BURSAR_GATEWAY_TLS_KEY": __file__,
    "BURSAR_GATEWAY_ISSUER": "https://issuer.example.org",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("BURSAR_GATEWAY_PORTT", "1", "BURSAR_GATEWAY_PORTT: there is no such setting"),
        ("BURSAR_GATEWAY_PORT", "none", "BURSAR_GATEWAY_PORT: Input should be a valid integer"),
        ("BURSAR_GATEWAY_PORT", "70000", "BURSAR_GATEWAY_PORT: Input should be less than or equal to 65535"),
        ("BURSAR_GATEWAY_ISSUER", None, "BURSAR_GATEWAY_ISSUER: Field required"),
        ("BURSAR_GATEWAY_DEV_IDENTITY", "true", "--dev-identity needs BURSAR_GATEWAY_DEV_IDENTITY_CERTIFICATE"),
    ],
)
def test_a_bad_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str | None, words: str
) -> None:
    if value is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert words in said, said


def test_settings_of_others_are_not_ours() -> None:
    assert list(misspelt(["BURSAR_GATEWAY", "BURSAR_GATEWAY_PORT", "BURSAR_OPERATOR_X"])) == []
