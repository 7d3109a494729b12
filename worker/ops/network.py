"""Whether an endpoint can be reached: name, connection, certificate, and the time it has.

One unsigned `HEAD /` is sent: it names no key, so no service can count it against one, and every service
answers it with a Date header, whatever else it thinks of it.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from worker.clients.http import one_line
from worker.clock import Clock
from worker.errors import RelayError

SECONDS_MAX = 5.0
HEAD_BYTES_MAX = 16 * 1024


class Unreachable(RelayError):  # noqa: N818  the name says what it is
    """The endpoint cannot be used; `fix` says what to look at."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(why)
        self.fix = fix


@dataclass(frozen=True, slots=True)
class Reached:
    """An endpoint that answered. `tls` is empty for plain http; a positive skew means our clock is ahead."""

    address: str
    tls: str = ""
    certificate_ends_at: float | None = None
    skew_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """Looks at endpoints; `trust` says which certificates count."""

    clock: Clock
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context)

    async def reach(self, url: str) -> Reached:
        """Resolve, connect, shake hands and ask for the time. Raises `Unreachable`."""
        parts = urlsplit(url)
        host, is_tls = parts.hostname or "", parts.scheme == "https"
        port = parts.port or (443 if is_tls else 80)
        address = await _resolve(host, port)
        try:
            async with asyncio.timeout(SECONDS_MAX):
                reader, writer = await asyncio.open_connection(
                    address,
                    port,
                    ssl=self.trust if is_tls else None,
                    server_hostname=host if is_tls else None,
                )
                try:
                    return await self._ask(reader, writer, parts.netloc, address)
                finally:
                    writer.close()
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(
                f"the certificate of {host} is not trusted: {error.verify_message}",
                "if a proxy opens TLS, add its root to the trust store (SSL_CERT_FILE); "
                "if not, somebody else answers under this name",
            ) from error
        except (TimeoutError, OSError) as error:
            why = (
                f"no answer within {SECONDS_MAX:.0f} s"
                if isinstance(error, TimeoutError)
                else str(error)
            )
            raise Unreachable(
                f"{host}:{port} ({address}) cannot be reached: {one_line(why)}",
                f"open outgoing TCP {port} to {host}: security group, firewall, NAT, VPC endpoint",
            ) from error

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, netloc: str, address: str
    ) -> Reached:
        tls = writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert() if tls else {}
        sent_at = self.clock.wall()
        writer.write(f"HEAD / HTTP/1.1\r\nHost: {netloc}\r\nConnection: close\r\n\r\n".encode())
        date = _date(await reader.read(HEAD_BYTES_MAX))
        now = (sent_at + self.clock.wall()) / 2
        return Reached(
            address,
            str(tls.version()) if tls else "",
            float(ssl.cert_time_to_seconds(certificate["notAfter"])) if certificate else None,
            None if date is None else now - date,
        )


async def _resolve(host: str, port: int) -> str:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(
            f"the name {host} cannot be resolved: {error.strerror or error}",
            "check the endpoint's spelling and the machine's DNS (/etc/resolv.conf); "
            "names with -internal resolve inside Alibaba Cloud only",
        ) from error
    return str(found[0][4][0])


def _date(head: bytes) -> float | None:
    for line in head.decode("latin-1").split("\r\n"):
        name, _, value = line.partition(":")
        if name.lower() == "date":
            try:
                # Whole seconds: on average the moment was half a second later.
                return parsedate_to_datetime(value.strip()).timestamp() + 0.5
            except ValueError:
                return None
    return None
