"""One way to send a request: signed bytes out, a bounded answer in, every failure classified."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import aiohttp
from yarl import URL

from worker.errors import Blame, CallFailed, Failure, Outcome

ANSWER_BYTES_MAX = 4 * 1024 * 1024
TEXT_CHARS_MAX = 300
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


def open_session(*, connections: int, total_seconds: float) -> aiohttp.ClientSession:
    """Open a connection pool of its own; `total_seconds` bounds every call as a whole.

    No cookies, no proxies or credentials from the environment (`~/.netrc` would replace our Authorization).
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=60, keepalive_timeout=30),
        timeout=aiohttp.ClientTimeout(total=total_seconds, sock_connect=5),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
    )


async def send(session: aiohttp.ClientSession, request: Request) -> Answer:
    """Send and return the whole answer, whatever its status.

    Raises `CallFailed`: `RETRY_LATER` if nothing can have been sent, `UNKNOWN` if the effect is not known.
    Redirects are not followed: a redirected POST would turn into an unsigned GET.
    """
    try:
        async with session.request(
            request.method,
            request.url,
            headers=request.headers,
            data=request.body or None,
            allow_redirects=False,
        ) as response:
            body = await _read_bounded(response)
            return Answer(response.status, response.headers, body)
    except aiohttp.ClientConnectorError as error:
        raise _no_answer(request, Outcome.RETRY_LATER, error) from error
    except UnicodeError as error:
        # A host with an empty or overlong label cannot even be looked up.
        raise _no_answer(request, Outcome.RETRY_LATER, error) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _no_answer(request, Outcome.UNKNOWN, error) from error


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
        message=f"answered by something that is not {vendor}: {answer.excerpt() or 'an empty body'}",
    )


def _no_answer(request: Request, outcome: Outcome, error: Exception) -> CallFailed:
    what = (
        "timed out"
        if isinstance(error, asyncio.TimeoutError)
        else one_line(str(error)) or type(error).__name__
    )
    return CallFailed(
        Failure(request.service, request.operation, outcome, Blame.PASSING, message=what)
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
    try:
        return now - parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError):
        return None
