"""One way to send a request: signed bytes out, a bounded answer in, every failure classified."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from worker.advice import NO_TLS, TLS_ONLY
from worker.config.addresses import bucket_origin
from worker.config.proxies import DIRECT, Proxies, Proxy
from worker.errors import FROM_ELSEWHERE, Blame, CallFailed, Failure, Outcome

# The setting that names each service's endpoint.
ENDPOINTS = {"mns": "MNS_ENDPOINT", "oss": "OSS_ENDPOINT", "oms": "SYNC_URL", "obs": "OBS_ENDPOINT"}
ANSWER_BYTES_MAX = 4 * 1024 * 1024
TEXT_CHARS_MAX = 300
# Every service refuses signatures that are more than 15 minutes off.
SKEW_SECONDS_MAX = 900
# With a proxy its name is the only one that is looked up.
_PROXY_AWAY = (aiohttp.ClientProxyConnectionError, aiohttp.ClientConnectorDNSError)
# What OpenSSL says of bytes that are no TLS.
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}
)
# The first bytes of a TLS alert, as aiohttp quotes them; what web servers answer to plain http on a TLS port.
_TLS_ALERT = r"\x15\x03"
_TLS_ASKED_FOR = b"plain HTTP request was sent to HTTPS port"
# As a query, a header, JSON or XML names them, also percent-encoded in a string to sign. No quantifier
# before a name: an answer may be megabytes of one word.
_SECRET = re.compile(
    r"""(
        (?: (?:token|secret) \\?["']? \s* (?: [:=>] | %3[AD] ) \s*
          | (?:access[-_]?key[-_]?id|signature) (?: [:=] | %3[AD] ) )
        \\?["']?
    )[^\s|&<"']+""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Request:
    """A request that is ready to send: nothing is added, encoded or reordered after signing."""

    service: str
    operation: str
    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def excerpt(self) -> str:
        """Return the start of the body as one line, for messages to people."""
        return one_line(self.body[: 4 * TEXT_CHARS_MAX].decode("utf-8", "replace"))


def one_line(text: str, chars_max: int = TEXT_CHARS_MAX) -> str:
    """Return `text` without line breaks and control characters, and not longer than asked for.

    Gateways echo the request that they could not verify, and clients the one that got no answer: tokens,
    secrets, access key ids and signatures in it are blotted out.
    """
    text = _SECRET.sub(r"\1***", text)
    flat = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return flat if len(flat) <= chars_max else flat[: chars_max - 1] + "…"


class _Connector(aiohttp.TCPConnector):
    """A pool that knows by which proxies its calls go."""

    def __init__(self, proxies: Proxies, connections: int, trust: ssl.SSLContext | None) -> None:
        super().__init__(
            limit=connections, ttl_dns_cache=60, keepalive_timeout=30, ssl=trust or True
        )
        self.proxies = proxies


def open_session(
    *,
    connections: int,
    total_seconds: float,
    proxies: Proxies = DIRECT,
    trust: ssl.SSLContext | None = None,
) -> aiohttp.ClientSession:
    """Open a connection pool of its own; `total_seconds` bounds every call as a whole.

    `trust` says which certificates count: those of the system, unless given. No cookies, and nothing that
    aiohttp would take from the environment by itself: `~/.netrc` would replace our Authorization, and its
    proxies would serve loopback, too.
    """
    return aiohttp.ClientSession(
        connector=_Connector(proxies, connections, trust),
        timeout=aiohttp.ClientTimeout(total=total_seconds, sock_connect=5),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
    )


async def send(session: aiohttp.ClientSession, request: Request) -> Answer:
    """Send and return the whole answer, whatever its status.

    Raises `CallFailed`: `RETRY_LATER` if the service can have got nothing, `UNKNOWN` if the effect is not
    known. Redirects are not followed: a redirected POST would turn into an unsigned GET.
    """
    proxy = proxy_of(session, request.url)
    try:
        async with session.request(
            request.method,
            request.url,
            data=request.body or None,
            allow_redirects=False,
            **routed(proxy, request.url, request.headers),
        ) as response:
            body = await _read_bounded(response)
            answer = Answer(response.status, response.headers, body)
    except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:
        raise _no_answer(request, proxy, error) from error
    _require_passage(request, proxy, answer)
    return answer


def proxy_of(session: aiohttp.ClientSession, url: URL) -> Proxy | None:
    """Return the proxy by which this session calls the URL; None: directly."""
    connector = session.connector
    # Without a proxy, as nearly always, no address has to be written out for each call.
    if not isinstance(connector, _Connector) or connector.proxies.are_none:
        return None
    return connector.proxies.of(str(url))


def routed(proxy: Proxy | None, url: URL, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return the arguments of aiohttp that send these headers, and the call by its proxy."""
    if proxy is None:
        return {"headers": headers}
    return {
        "headers": {**headers, **proxy.headers_of_request(str(url))},
        "proxy": proxy.url,
        "proxy_headers": proxy.headers,
    }


def _require_passage(request: Request, proxy: Proxy | None, answer: Answer) -> None:
    """Raise if the answer says that the service did not get the request."""
    if (
        proxy
        and request.url.scheme == "http"
        and answer.status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED
    ):
        why = ": ".join(barred(proxy, answer.status, ""))
        raise _failed(request, Outcome.RETRY_LATER, why)
    if answer.status == HTTPStatus.BAD_REQUEST and _TLS_ASKED_FOR in answer.body:
        raise _failed(request, Outcome.RETRY_LATER, _wrong_scheme(request, TLS_ONLY))


async def _read_bounded(response: aiohttp.ClientResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            response.close()
            raise aiohttp.ClientPayloadError(f"the answer is larger than {ANSWER_BYTES_MAX} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def from_elsewhere(service: str, vendor: str, operation: str, answer: Answer) -> Failure:
    """Return the failure of an answer that is not the vendor's: of a proxy, a firewall or a portal.

    Whether the call had its effect is not known, and time may heal it.
    """
    return Failure(
        service=service,
        operation=operation,
        outcome=Outcome.UNKNOWN,
        blame=Blame.PASSING,
        status=answer.status,
        message=f"{FROM_ELSEWHERE}{vendor}: {answer.excerpt() or 'an empty body'}",
    )


def unusable(service: str, operation: str, status: int, why: str) -> Failure:
    """Return the failure of a success that is damaged."""
    return Failure(service, operation, Outcome.UNKNOWN, Blame.PASSING, status=status, message=why)


def is_no_tls(error: BaseException | None) -> bool:
    """Whether a handshake failed because the other side does not speak TLS."""
    return isinstance(error, ssl.SSLError) and error.reason in _NO_TLS


def barred(proxy: Proxy, status: int, reason: str) -> tuple[str, str]:
    """Say that a proxy does not let a call through, and what to look at; status 0: it spoke no HTTP."""
    said = one_line(f"{status} {reason}") if status else "no HTTP answer"
    todo = f"let the proxy {proxy} allow this host, or name the host in NO_PROXY"
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        todo = f"check user and password in {proxy.name}"
    return f"the proxy {proxy} did not let the call through ({said})", todo


def _no_answer(request: Request, proxy: Proxy | None, error: Exception) -> CallFailed:
    """Say why no answer came; `RETRY_LATER` where no connection to the service was made."""
    # A host with an empty or overlong label cannot even be looked up: UnicodeError.
    is_unsent = isinstance(
        error,
        (
            aiohttp.ClientConnectorError,
            aiohttp.InvalidURL,
            aiohttp.NonHttpUrlClientError,
            UnicodeError,
        ),
    )
    what = one_line(str(error)) or type(error).__name__
    if isinstance(error, asyncio.TimeoutError):
        what = "timed out"
    elif proxy and isinstance(error, aiohttp.ClientHttpProxyError):
        is_unsent, what = True, ": ".join(barred(proxy, error.status, error.message))
    elif proxy and isinstance(error, _PROXY_AWAY):
        what = f"the proxy {proxy} cannot be reached: {what}; check {proxy.name}"
    elif isinstance(error, aiohttp.ClientConnectorError) and is_no_tls(error.os_error):
        what = _wrong_scheme(request, NO_TLS)
    elif isinstance(error, aiohttp.ClientResponseError) and _TLS_ALERT in error.message:
        is_unsent, what = True, _wrong_scheme(request, TLS_ONLY)
    elif request.url.scheme == "http" and isinstance(error, aiohttp.ServerDisconnectedError):
        what += f"; if it never answers, check scheme and port of {_setting(request)}"
    return _failed(request, Outcome.RETRY_LATER if is_unsent else Outcome.UNKNOWN, what)


def _wrong_scheme(request: Request, what: str) -> str:
    where = f"{request.url.host}:{request.url.port}"
    return f"{where} {what}{_setting(request)}"


def _setting(request: Request) -> str:
    return ENDPOINTS.get(request.service, "the endpoint")


def _failed(request: Request, outcome: Outcome, why: str) -> CallFailed:
    return CallFailed(
        Failure(request.service, request.operation, outcome, Blame.PASSING, message=why)
    )


def retry_after_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that a Retry-After header asks to wait from `now`; None without one."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def skew_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Return by how many seconds our clock is ahead of the server's Date header; None without one."""
    answered = answered_at(headers)
    return now - answered if answered else None


def with_skew(text: str, answer: Answer, blame: Blame, now: float) -> str:
    """Add the usual cause to what Huawei says of a refused signature: a clock that is off."""
    skew = skew_seconds(answer.headers, now)
    if blame is not Blame.CREDENTIALS or skew is None or abs(skew) < SKEW_SECONDS_MAX:
        return text
    direction = "ahead of" if skew > 0 else "behind"
    return f"{text}; this machine's clock is {abs(skew):.0f} s {direction} Huawei's"


def modified_seconds(headers: Mapping[str, str]) -> float:
    """Return when an object was last modified, in seconds since the epoch; 0 where it is not said."""
    return _date(headers, "Last-Modified")


def answered_at(headers: Mapping[str, str]) -> float:
    """Return the server's time of its answer, in seconds since the epoch; 0 where it is not said."""
    return _date(headers, "Date")


def crc64_of(headers: Mapping[str, str], *names: str) -> int | None:
    """Return the CRC64 that stands under the first of these names; None where there is none."""
    told = next((headers[name] for name in names if name in headers), "")
    return int(told) if told.isascii() and told.isdigit() else None


def object_url(endpoint: str, bucket: str, key: str, query: str = "") -> URL:
    """Return where an object is, its key byte for byte, or a bucket (no key); `query` is encoded already.

    The bucket stands in the host; in the path on IP and loopback hosts, as the vendors' SDKs have it.
    """
    origin = bucket_origin(endpoint, bucket)
    root = f"{origin}/{bucket}/" if origin == endpoint else f"{origin}/"
    return URL(f"{root}{quote(key, safe='')}{'?' if query else ''}{query}", encoded=True)


def _date(headers: Mapping[str, str], name: str) -> float:
    try:
        return parsedate_to_datetime(headers.get(name, "")).timestamp()
    except (ValueError, OverflowError):
        return 0.0
