"""OSS over aiohttp: oss2 names the errors; its blocking transport is not used.

`quote(key, safe="")` with `encoded=True` keeps every key (`..`, `//`, control characters) byte for byte on
the wire, in oss2's own form. PutObject overwrites, so repeating one is harmless.
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
from oss2.exceptions import make_exception
from yarl import URL

from worker.clients.http import Answer, Request, one_line, retry_after_seconds, send
from worker.clients.oss_signature import sign
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
        self._credentials = credentials
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
        if "x-oss-request-id" not in answer.headers:
            raise CallFailed(_from_elsewhere("PutObject", answer))

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
        scope = (self._credentials(), self._region)
        signed = sign(method, f"/{bucket}/{key}", {}, headers, scope, self._clock.wall())
        return await send(
            self._session, Request("oss", operation, method, self._url(bucket, key), signed, body)
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


def _from_elsewhere(operation: str, answer: Answer) -> Failure:
    """Return the failure of a success that OSS never gave, as a proxy's log-in page is one."""
    return Failure(
        service="oss",
        operation=operation,
        outcome=Outcome.UNKNOWN,
        blame=Blame.PASSING,
        status=answer.status,
        message=f"the answer is not from OSS: {answer.excerpt()}",
    )


def _blame(status: int, code: str) -> Blame:
    if code in _CREDENTIAL_CODES or status == 401:
        return Blame.CREDENTIALS
    if status in (408, 429) or status >= 500:
        return Blame.PASSING
    # Our calls have one form: whatever else is refused (a wrong region, for one) is refused for every name.
    return Blame.ITEM if code == "InvalidObjectName" else Blame.SERVICE
