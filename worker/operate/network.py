"""Whether an endpoint can be reached: name, proxy, connection, certificate, and the time it has.

One unsigned `HEAD /` is sent: it names no key, so no service can count it against one, and every service
answers it with a Date header, whatever else it thinks of it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from worker.advice import Advice
from worker.clock import Clock
from worker.clouds.http import barred, is_no_tls, one_line
from worker.config.addresses import DEFAULT_PORTS, in_url
from worker.config.proxies import DIRECT, Proxies, Proxy
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
class _Target:
    """An endpoint in its parts, the setting that names it, and the proxy that leads to it."""

    url: str
    setting: str
    proxy: Proxy | None

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def netloc(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def is_tls(self) -> bool:
        return self.url.startswith("https://")

    @property
    def port(self) -> int:
        parts = urlsplit(self.url)
        return parts.port or DEFAULT_PORTS[parts.scheme]

    @property
    def scheme_fix(self) -> str:
        name = "scheme.no_tls" if self.is_tls else "scheme.tls"
        return str(Advice(name, {"setting": self.setting}))


@dataclass(frozen=True, slots=True)
class Network:
    """Looks at endpoints by the way that calls go; `trust` says which certificates count."""

    clock: Clock
    trust: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    proxies: Proxies = DIRECT

    async def reach(self, url: str, setting: str = "the endpoint") -> Reached:
        """Resolve, connect, shake hands and ask for the time. Raises `Unreachable`, which names `setting`."""
        target = _Target(url, setting, self.proxies.of(url))
        if target.proxy:
            found = await _resolve(target.proxy.host, target.proxy.port)
            shown = f"through the proxy {target.proxy}"
        else:
            found = shown = await _resolve(target.host, target.port)
        try:
            async with asyncio.timeout(SECONDS_MAX):
                return await self._reach(target, found, shown)
        except ssl.SSLCertVerificationError as error:
            raise Unreachable(
                f"the certificate of {target.host} is not trusted: {error.verify_message}",
                "if a proxy opens TLS, add its root to the trust store (SSL_CERT_FILE); "
                "if not, somebody else answers under this name",
            ) from error
        except (TimeoutError, OSError) as error:
            raise _unreachable(target, shown, error) from error

    async def _reach(self, target: _Target, found: str, shown: str) -> Reached:
        reader, writer = await self._connect(target, found)
        try:
            sent_at = self.clock.wall()
            head = await _ask(reader, writer, target)
            now = (sent_at + self.clock.wall()) / 2
            tls = writer.get_extra_info("ssl_object")
        finally:
            writer.close()
        if not target.is_tls:
            await _require_plain(target, found, head)
        certificate = tls.getpeercert() if tls else {}
        date = _date(head)
        return Reached(
            shown,
            str(tls.version()) if tls else "",
            float(ssl.cert_time_to_seconds(certificate["notAfter"])) if certificate else None,
            None if date is None else now - date,
        )

    async def _connect(
        self, target: _Target, found: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if target.proxy is None:
            return await asyncio.open_connection(
                found,
                target.port,
                ssl=self.trust if target.is_tls else None,
                server_hostname=target.host if target.is_tls else None,
            )
        reader, writer = await asyncio.open_connection(found, target.proxy.port)
        try:
            if target.is_tls:
                await _tunnel(reader, writer, target, target.proxy)
                await writer.start_tls(self.trust, server_hostname=target.host)
        except BaseException:
            writer.close()
            raise
        return reader, writer


async def _tunnel(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: _Target, proxy: Proxy
) -> None:
    place = f"{in_url(target.host)}:{target.port}"
    writer.write(_head(f"CONNECT {place}", place, proxy.headers))
    try:
        answer = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        answer = b""
    status, reason = _status(answer)
    if status != HTTPStatus.OK:
        raise _barred(target, proxy, status, reason)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: _Target
) -> bytes:
    """Send the question; return what came back, nothing if the connection was cut."""
    proxy = target.proxy
    is_by_url = proxy is not None and not target.is_tls
    headers = proxy.headers_of_request(target.url) if proxy else {}
    line = f"HEAD {target.url if is_by_url else ''}/"
    writer.write(_head(line, target.netloc, headers | {"Connection": "close"}))
    try:
        return await reader.read(HEAD_BYTES_MAX)
    except ConnectionResetError:
        return b""


async def _require_plain(target: _Target, found: str, head: bytes) -> None:
    """Raise where the question went to a proxy that refused it, or to a port that speaks TLS."""
    status, reason = _status(head)
    if target.proxy:
        if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
            raise _barred(target, target.proxy, status, reason)
        return
    if status in (0, HTTPStatus.BAD_REQUEST) and await _speaks_tls(found, target.port):
        raise Unreachable(
            f"{target.host}:{target.port} ({found}) speaks TLS only, and {target.setting} says http",
            target.scheme_fix,
        )


async def _speaks_tls(address: str, port: int) -> bool:
    """Whether a handshake succeeds, whosever the certificate is: nothing is sent over it."""
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    try:
        _, writer = await asyncio.open_connection(address, port, ssl=anyone)
    except OSError:
        return False
    writer.close()
    return True


def _unreachable(target: _Target, shown: str, error: OSError) -> Unreachable:
    where = f"{target.host}:{target.port} ({shown})"
    if is_no_tls(error):
        return Unreachable(
            f"{where} cannot be reached by https: the port does not speak TLS", target.scheme_fix
        )
    is_late = isinstance(error, TimeoutError)
    why = f"no answer within {SECONDS_MAX:.0f} s" if is_late else one_line(str(error))
    if target.proxy:
        fix = f"check that the proxy of {target.proxy.name} runs and can reach {target.host}:{target.port}"
    else:
        fix = (
            f"open outgoing TCP {target.port} to {target.host}: "
            "security group, firewall, NAT, VPC endpoint"
        )
    return Unreachable(f"{where} cannot be reached: {why}", fix)


def _barred(target: _Target, proxy: Proxy, status: int, reason: str) -> Unreachable:
    why, fix = barred(proxy, status, reason)
    return Unreachable(f"{target.host}:{target.port} cannot be reached: {why}", fix)


def _head(line: str, host: str, headers: dict[str, str]) -> bytes:
    named = {"Host": host} | headers
    lines = [f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def _status(head: bytes) -> tuple[int, str]:
    """Return status and reason; 0 if these bytes are no HTTP."""
    line = head.split(b"\r\n", 1)[0].decode("latin-1")
    match = re.match(r"HTTP/1\.\d (\d{3})(?: (.*))?$", line)
    return (int(match[1]), match[2] or "") if match else (0, "")


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
