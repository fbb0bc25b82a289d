"""The stack's own authorities and certificates."""

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from bursar_local.certificates import Authority, KeyPair, token_signing_keys


def load(pair: KeyPair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.certificate.read_bytes())


async def handshake(server: KeyPair, trust: Path, client: KeyPair | None = None, client_trust: Path | None = None) -> None:
    """One TLS connection over loopback; raises what the handshake raises."""
    offered = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(client_trust) if client_trust else None)
    offered.load_cert_chain(server.certificate, server.key)
    offered.verify_mode = ssl.CERT_REQUIRED if client_trust else ssl.CERT_NONE

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=offered)
    async with listener:
        wanted = ssl.create_default_context(cafile=str(trust))
        if client:
            wanted.load_cert_chain(client.certificate, client.key)
        port = listener.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=wanted)
        try:
            if await reader.read() != b"hello":
                raise ConnectionResetError("the server ended the connection")
        finally:
            writer.close()


async def test_a_server_certificate_is_good_for_loopback_under_its_own_authority_only(tmp_path: Path) -> None:
    authority = Authority.load_or_create(tmp_path, "ca")
    other = Authority.load_or_create(tmp_path, "other-ca")
    server = authority.issue_server("server")
    await handshake(server, authority.certificate_file)
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(server, other.certificate_file)


async def test_a_client_certificate_is_no_server_certificate(tmp_path: Path) -> None:
    authority = Authority.load_or_create(tmp_path, "ca")
    with pytest.raises(ssl.SSLCertVerificationError):
        await handshake(authority.issue_client("client", "someone"), authority.certificate_file)


async def test_a_server_that_asks_accepts_its_own_clients(tmp_path: Path) -> None:
    authority = Authority.load_or_create(tmp_path, "ca")
    server, client = authority.issue_server("server"), authority.issue_client("client", "someone")
    await handshake(server, authority.certificate_file, client, authority.certificate_file)


def test_user_and_groups_stand_where_kubernetes_reads_them(tmp_path: Path) -> None:
    subject = load(Authority.load_or_create(tmp_path, "ca").issue_client("c", "alice", ["staff", "physics"])).subject
    assert [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.COMMON_NAME)] == ["alice"]
    assert [attribute.value for attribute in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)] == ["staff", "physics"]


def test_an_authority_and_the_token_keys_are_kept_over_restarts(tmp_path: Path) -> None:
    authority, keys = Authority.load_or_create(tmp_path, "ca"), token_signing_keys(tmp_path)
    before = (authority.certificate_file.read_bytes(), keys.key.read_bytes())
    again = Authority.load_or_create(tmp_path, "ca")
    assert (again.certificate_file.read_bytes(), token_signing_keys(tmp_path).key.read_bytes()) == before
    load(again.issue_server("server")).verify_directly_issued_by(x509.load_pem_x509_certificate(before[0]))


def test_every_file_is_private(tmp_path: Path) -> None:
    Authority.load_or_create(tmp_path, "ca").issue_peer("peer")
    token_signing_keys(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.stat().st_mode & 0o077] == []
