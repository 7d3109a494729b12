"""OSS over aiohttp: oss2 signs (V4) and names the errors, its blocking transport is not used.

Recipe and reasons: oss2 2.19.1 is frozen upstream, its signer needs only the few attributes of
`_Signable`; `quote(key, safe="")` with `encoded=True` keeps every key (`..`, `//`, control characters)
byte for byte on the wire. PutObject overwrites, so repeating one is harmless.
"""

from __future__ import annotations

import base64
import hashlib
import io
import ipaddress
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import oss2
from oss2.exceptions import make_exception
from yarl import URL

from worker.clients.http import Answer, Request, one_line, retry_after_seconds, send
from worker.clock import Clock
from worker.credentials import AlibabaCredentials
from worker.errors import Blame, CallFailed, Failure, Outcome

_CREDENTIAL_CODES = frozenset(
    {
        "InvalidAccessKeyId",
        "InvalidSecurityToken",
        "RequestTimeTooSkewed",
        "SecurityTokenExpired",
        "SignatureDoesNotMatch",
    }
)


class _Signable:
    """The part of an oss2 request that its V4 signer reads and writes."""

    product = "oss"
    cloudbox_id = None

    def __init__(self, method: str, headers: dict[str, str], region: str) -> None:
        self.method = method
        self.headers = headers
        self.params: dict[str, str] = {}
        self.region = region


class OssClient:
    """Objects of one endpoint: bucket in the host, or in the path on IP and loopback hosts, as in oss2."""

    def __init__(
        self,
        endpoint: str,
        region: str,
        credentials: Callable[[], AlibabaCredentials],
        session: aiohttp.ClientSession,
        clock: Clock,
    ) -> None:
        self._region = region
        self._session = session
        self._clock = clock
        self._signer = oss2.ProviderAuthV4(_Provider(credentials))
        parts = urlsplit(endpoint)
        self._scheme, self._netloc = parts.scheme, parts.netloc
        self._is_path_style = _is_path_style(parts.hostname or "")

    async def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Write an object and return when OSS has confirmed it. Raises `CallFailed`."""
        headers = {"content-type": content_type}
        if body:
            headers["content-md5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
        answer = await self._call("PutObject", "PUT", bucket, key, headers, body)
        if not 200 <= answer.status < 300:
            raise CallFailed(self._failure("PutObject", answer))

    async def exists(self, bucket: str, key: str) -> bool | None:
        """Say whether the object is there; None where this identity may not look. Raises `CallFailed`."""
        answer = await self._call("HeadObject", "HEAD", bucket, key, {}, b"")
        if answer.status == 200:
            return True
        failure = self._failure("HeadObject", answer)
        if answer.status == 404 and failure.code in ("", "NoSuchKey"):
            return False
        if failure.blame is Blame.PASSING:
            raise CallFailed(failure)
        return None

    async def _call(
        self,
        operation: str,
        method: str,
        bucket: str,
        key: str,
        headers: dict[str, str],
        body: bytes,
    ) -> Answer:
        self._signer._sign_request(_Signable(method, headers, self._region), bucket, key)  # noqa: SLF001  the SDK has no public way to sign without sending
        return await send(
            self._session, Request("oss", operation, method, self._url(bucket, key), headers, body)
        )

    def _url(self, bucket: str, key: str) -> URL:
        path = quote(key, safe="")
        if self._is_path_style:
            return URL(f"{self._scheme}://{self._netloc}/{bucket}/{path}", encoded=True)
        return URL(f"{self._scheme}://{bucket}.{self._netloc}/{path}", encoded=True)

    def _failure(self, operation: str, answer: Answer) -> Failure:
        error = make_exception(_Readable(answer))
        code, status = str(error.code or ""), answer.status
        blame = _blame(status, code)
        return Failure(
            service="oss",
            operation=operation,
            outcome=Outcome.REJECTED if blame is Blame.ITEM else Outcome.RETRY_LATER,
            blame=blame,
            status=status,
            code=code,
            message=one_line(str(error.message or "")) or answer.excerpt(),
            request_id=str(error.request_id or ""),
            retry_after_seconds=retry_after_seconds(answer.headers, self._clock.wall()),
        )


class _Provider:
    """oss2's credential-provider protocol over the current snapshot."""

    def __init__(self, current: Callable[[], AlibabaCredentials]) -> None:
        self.get_credentials = current


class _Readable:
    """An answer in the shape that `oss2.exceptions.make_exception` reads."""

    def __init__(self, answer: Answer) -> None:
        self.status = answer.status
        self.headers: Any = answer.headers
        self._body = io.BytesIO(answer.body)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes of the body."""
        return self._body.read(size)


def _is_path_style(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _blame(status: int, code: str) -> Blame:
    if code in _CREDENTIAL_CODES or status == 401:
        return Blame.CREDENTIALS
    if status == 400 and code == "InvalidObjectName":
        return Blame.ITEM
    if status in (408, 429) or status >= 500:
        return Blame.PASSING
    if status in (403, 404, 405, 409) or 300 <= status < 400:
        return Blame.SERVICE
    return Blame.ITEM
