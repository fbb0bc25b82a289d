"""The webhook's certificate: what is made chains, what is old is renewed, what was trusted stays so for a while."""

import ssl
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509

from bursar_operator.certificates import BACKDATED, RENEW_BEFORE, VALID, Issued, issue, still_trusted, stored, usable

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HOSTS = ("localhost", "bursar-webhooks.bursar-system.svc")


def test_a_made_certificate_is_usable_and_loads(tmp_path: Path) -> None:
    issued = issue(HOSTS, NOW)
    assert usable(issued, HOSTS, NOW)
    assert not usable(issued, (*HOSTS, "elsewhere"), NOW)
    (tmp_path / "crt").write_bytes(issued.certificate)
    (tmp_path / "key").write_bytes(issued.key)
    ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tmp_path / "crt", tmp_path / "key")


def test_it_is_renewed_before_it_ends() -> None:
    issued = issue(HOSTS, NOW)
    assert usable(issued, HOSTS, NOW + VALID - RENEW_BEFORE - BACKDATED - timedelta(minutes=1))
    assert not usable(issued, HOSTS, NOW + VALID - RENEW_BEFORE)


def test_the_authority_before_stays_trusted_beside_the_new_one_until_it_ends() -> None:
    first = issue(HOSTS, NOW)
    later = NOW + VALID - RENEW_BEFORE
    second = issue(HOSTS, later, still_trusted(first.authorities, later))
    authorities = x509.load_pem_x509_certificates(second.authorities)
    assert len(authorities) == 2
    x509.load_pem_x509_certificate(second.certificate).verify_directly_issued_by(authorities[0])
    x509.load_pem_x509_certificate(first.certificate).verify_directly_issued_by(authorities[1])
    assert still_trusted(first.authorities, NOW + VALID + timedelta(days=1)) == b""
    assert len(x509.load_pem_x509_certificates(issue(HOSTS, later, still_trusted(second.authorities, later)).authorities)) == 2


def test_every_authority_that_is_still_valid_stays_where_nobody_knows_which_is_shown() -> None:
    later = NOW + VALID - RENEW_BEFORE
    both = issue(HOSTS, later, issue(HOSTS, NOW).authorities).authorities
    assert still_trusted(both, later, every=True) == both
    assert still_trusted(both, NOW + VALID + timedelta(days=1), every=True) == still_trusted(both, later)
    assert still_trusted(b"", NOW, every=True) == b""


def test_a_secret_that_is_not_whole_is_as_good_as_none() -> None:
    issued = issue(HOSTS, NOW)
    data = {"ca.crt": issued.authorities, "tls.crt": issued.certificate, "tls.key": issued.key}
    secret = {"data": {name: b64encode(value).decode() for name, value in data.items()}}
    assert stored(secret) == issued
    del secret["data"]["ca.crt"]
    assert stored(secret) is None
    assert stored(None) is None
    assert not usable(Issued(b"", b"", b""), HOSTS, NOW)
    assert not usable(Issued(issue(HOSTS, NOW).authorities, issued.certificate, issued.key), HOSTS, NOW)
    assert not usable(Issued(issued.authorities, issued.certificate, issue(HOSTS, NOW).key), HOSTS, NOW)


def test_lifetimes_are_the_callers() -> None:
    short = issue(HOSTS, NOW, valid=timedelta(hours=1))
    assert not usable(short, HOSTS, NOW)
    assert usable(short, HOSTS, NOW, renew_before=timedelta(minutes=30))
    assert not usable(short, HOSTS, NOW + timedelta(minutes=31), renew_before=timedelta(minutes=30))
