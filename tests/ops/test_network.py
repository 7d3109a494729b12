from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from harness.ops import connected
from localcloud.cloud import LocalCloud
from worker.clock import SystemClock
from worker.ops.doctor import examine
from worker.ops.network import Network, Unreachable
from worker.ops.verdict import Check, Verdict


def certificate(folder: Path, *, days: int, name: str = "localhost") -> Path:
    """Make a self-signed certificate with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = folder / f"{name}-{days}.pem"
    file.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return file


@asynccontextmanager
async def serving(file: Path, answer: bytes) -> AsyncIterator[str]:
    """Answer every connection over TLS; yield the URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"


def answer(skew_seconds: float = 0.0) -> bytes:
    at = datetime.now(UTC) + timedelta(seconds=skew_seconds)
    return f"HTTP/1.1 403 Forbidden\r\ndate: {at:%a, %d %b %Y %H:%M:%S} GMT\r\n\r\n".encode()


def trusting(file: Path) -> Network:
    return Network(SystemClock(), ssl.create_default_context(cafile=str(file)))


async def checked(cloud: LocalCloud, url: str, network: Network) -> dict[str, Check]:
    cloud.prepare()
    async with connected(cloud, settings={"MNS_ENDPOINT": url}) as clients:
        return {each.name: each async for each in examine(clients, network)}


async def test_a_sound_endpoint_shows_its_certificate_and_its_time(tmp_path: Path) -> None:
    file = certificate(tmp_path, days=90)
    async with serving(file, answer(-300)) as url:
        reached = await trusting(file).reach(url)
    assert reached.tls.startswith("TLSv1.")
    assert reached.certificate_ends_at is not None
    assert reached.skew_seconds == pytest.approx(300, abs=20)


class LateClock(SystemClock):
    """A clock between whose looks ten minutes pass."""

    looks = 0

    @classmethod
    def wall(cls) -> float:
        cls.looks += 1
        return SystemClock.wall() + 600 * (cls.looks - 1)


async def test_the_time_of_an_answer_is_the_middle_of_the_call(tmp_path: Path) -> None:
    file = certificate(tmp_path, days=90)
    async with serving(file, answer()) as url:
        trust = ssl.create_default_context(cafile=str(file))
        reached = await Network(LateClock(), trust).reach(url)
    assert reached.skew_seconds == pytest.approx(300, abs=20)


async def test_a_certificate_that_ends_soon_is_a_warning(cloud: LocalCloud, tmp_path: Path) -> None:
    file = certificate(tmp_path, days=5)
    async with serving(file, answer()) as url:
        checks = await checked(cloud, url, trusting(file))
    assert checks["mns.network"].verdict is Verdict.WARNING
    assert "good for 5 days" in checks["mns.network"].detail
    assert "renew" in checks["mns.network"].fix


@pytest.mark.parametrize(
    ("days", "name", "why"),
    [
        (90, "localhost", "self-signed"),
        (-1, "localhost", "expired"),
        (90, "elsewhere.test", "mismatch"),
    ],
)
async def test_a_certificate_that_is_not_trusted_is_a_failure(
    cloud: LocalCloud, tmp_path: Path, days: int, name: str, why: str
) -> None:
    file = certificate(tmp_path, days=days, name=name)
    network = Network(SystemClock()) if why == "self-signed" else trusting(file)
    async with serving(file, answer()) as url:
        checks = await checked(cloud, url, network)
    assert checks["mns.network"].verdict is Verdict.FAILURE
    assert why in checks["mns.network"].detail
    assert "trust store" in checks["mns.network"].fix
    assert checks["mns.delete"].verdict is Verdict.SKIPPED


@pytest.mark.parametrize(
    "sent", [b"", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nDate: soon\r\n\r\n", b"\xff\xfe"]
)
async def test_an_endpoint_without_a_date_is_reached_all_the_same(
    tmp_path: Path, sent: bytes
) -> None:
    file = certificate(tmp_path, days=90)
    async with serving(file, sent) as url:
        reached = await trusting(file).reach(url)
    assert reached.skew_seconds is None


async def test_plain_http_where_tls_is_expected_is_a_failure(cloud: LocalCloud) -> None:
    url = cloud.mns.url.replace("http://127.0.0.1", "https://localhost")
    with pytest.raises(Unreachable, match="cannot be reached"):
        await Network(SystemClock()).reach(url)
