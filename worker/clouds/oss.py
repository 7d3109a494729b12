"""OSS over aiohttp: oss2 reads the errors (`oss_error.py`); its blocking transport is not used.

`quote(key, safe="")` with `encoded=True` keeps every key (`..`, `//`, control characters) byte for byte on
the wire, in oss2's own form. PutObject overwrites, so repeating one is harmless.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace

import aiohttp

from worker.clock import Clock
from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.http import (
    SKEW_SECONDS_MAX,
    Answer,
    Request,
    answered_at,
    crc64_of,
    from_elsewhere,
    modified_seconds,
    object_url,
    retry_after_seconds,
    send,
    unusable,
)
from worker.clouds.listing import PAGE_KEYS, Attempt, Damaged, once, oss_page, oss_question, pages
from worker.clouds.oss_error import read_error
from worker.clouds.oss_signature import canonical_query, sign
from worker.config.addresses import bucket_origin
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.ports import NAME_TAKEN, TOO_LATE, ObjectFacts, Page, Stored

_CREDENTIAL_CODES = frozenset(
    {
        "InvalidAccessKeyId",
        "InvalidSecurityToken",
        TOO_LATE,
        "SecurityTokenExpired",
        "SignatureDoesNotMatch",
    }
)

# OSS puts its request id on all that it sends; a portal or a proxy does not.
_MARK = "x-oss-request-id"
_NOT_THERE = b"<Code>NoSuchKey</Code>"
_NO_QUERY: Mapping[str, str] = {}


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
        self._endpoint = endpoint

    async def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        content_type: str,
        *,
        may_replace: bool = True,
        until: float | None = None,
    ) -> None:
        """Write an object and return when OSS has confirmed it. Raises `CallFailed`.

        Without `may_replace`, a name that is taken is refused with the code `FileAlreadyExists`. What comes
        after `until` (epoch seconds by OSS's own clock) is refused with the code `RequestTimeTooSkewed`.
        """
        headers = {"content-type": content_type}
        if not may_replace:
            headers["x-oss-forbid-overwrite"] = "true"
        if body:
            headers["content-md5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
        answer = await self._call("PutObject", "PUT", bucket, key, headers, body, until=until)
        self._require_success("PutObject", answer, f"{bucket}/{key}")

    async def get(self, bucket: str, key: str) -> Stored | None:
        """Read an object whole, at most 4 MiB; None if it is not there. Raises `CallFailed`."""
        answer = await self._call("GetObject", "GET", bucket, key, {}, b"")
        if answer.status == 404:
            # What a relay asks for every few seconds is mostly not there: that needs no reader of errors.
            if _MARK in answer.headers and _NOT_THERE in answer.body:
                return None
            failure = self._failure("GetObject", answer, f"{bucket}/{key}")
            if failure.code == "NoSuchKey":
                return None
        self._require_success("GetObject", answer, f"{bucket}/{key}")
        return Stored(answer.body, modified_seconds(answer.headers), answered_at(answer.headers))

    async def delete(self, bucket: str, key: str, *, until: float | None = None) -> None:
        """Delete an object; one that is not there counts as deleted. Raises `CallFailed`.

        `until` is that of `put`.
        """
        answer = await self._call("DeleteObject", "DELETE", bucket, key, {}, b"", until=until)
        self._require_success("DeleteObject", answer, f"{bucket}/{key}")

    async def list(
        self,
        bucket: str,
        prefix: str = "",
        *,
        delimiter: str = "",
        start_after: str = "",
        keys_max: int = PAGE_KEYS,
        attempt: Attempt = once,
    ) -> AsyncGenerator[Page]:
        """List what begins with `prefix`, page by page: memory holds one page of 1,000 names.

        Objects that come or go meanwhile may be in the listing or not; the others are in it once.
        Raises `CallFailed`.
        """

        async def fetch(token: str) -> Page:
            query = oss_question(
                prefix,
                delimiter=delimiter,
                start_after=start_after,
                token=token,
                keys_max=keys_max,
            )
            return await self._list_page(bucket, query)

        async for page in pages(fetch, attempt):
            yield page

    async def _list_page(self, bucket: str, query: Mapping[str, str]) -> Page:
        answer = await self._call("ListObjectsV2", "GET", bucket, "", {}, b"", query)
        self._require_success("ListObjectsV2", answer, f"{bucket}/{query.get('prefix', '')}")
        try:
            page = replace(oss_page(answer.body), at=answered_at(answer.headers))
        except Damaged as error:
            raise CallFailed(unusable("oss", "ListObjectsV2", answer.status, str(error))) from error
        if page.next_token and page.next_token == query.get("continuation-token"):
            why = "the listing does not go on: it would begin again"
            raise CallFailed(unusable("oss", "ListObjectsV2", answer.status, why))
        return page

    async def exists(self, bucket: str, key: str) -> bool | None:
        """Say whether the object is there; None where this identity may not look. Raises `CallFailed`."""
        answer = await self._call("HeadObject", "HEAD", bucket, key, {}, b"")
        if _MARK not in answer.headers:
            raise CallFailed(from_elsewhere("oss", "OSS", "HeadObject", answer))
        if answer.status == 200:
            return True
        failure = self._failure("HeadObject", answer, f"{bucket}/{key}")
        if answer.status == 404 and failure.code in ("", "NoSuchKey"):
            return False
        if failure.blame is Blame.PASSING:
            raise CallFailed(failure)
        return None

    async def facts(self, bucket: str, key: str) -> ObjectFacts | None:
        """Return what HeadObject tells of an object; None if it is not there. Raises `CallFailed`.

        HeadObject has no body: where the code says only 404, the bucket may be the one that is missing.
        """
        answer = await self._call("HeadObject", "HEAD", bucket, key, {}, b"")
        if answer.status == 404 and _MARK in answer.headers:
            failure = self._failure("HeadObject", answer, f"{bucket}/{key}")
            if failure.code in ("", "NoSuchKey"):
                return None
        self._require_success("HeadObject", answer, f"{bucket}/{key}")
        try:
            return facts_of(answer.headers)
        except ValueError as error:
            raise CallFailed(unusable("oss", "HeadObject", answer.status, str(error))) from error

    async def has(self, bucket: str, key: str) -> bool:
        """Whether the object is there; raises `CallFailed` unless OSS says so or that it does not exist.

        One byte is asked for, because a refused HeadObject has no body: a bucket that is gone would look like
        an object that is gone.
        """
        span = {"range": "bytes=0-0"}
        answer = await self._call("GetObject", "GET", bucket, key, span, b"")
        if answer.status == 404 and _MARK in answer.headers:
            failure = self._failure("GetObject", answer, f"{bucket}/{key}")
            if failure.code == "NoSuchKey":
                return False
        self._require_success("GetObject", answer, f"{bucket}/{key}")
        return True

    async def _call(
        self,
        operation: str,
        method: str,
        bucket: str,
        key: str,
        headers: dict[str, str],
        body: bytes,
        query: Mapping[str, str] = _NO_QUERY,
        until: float | None = None,
    ) -> Answer:
        scope = (self._credentials(), self._region)
        # OSS refuses a signature that is older than 15 minutes: one that is as old as that at `until` makes
        # OSS itself the judge of what comes too late, whatever held the call up (EC 0002-00000504).
        at = self._clock.wall() if until is None else until - SKEW_SECONDS_MAX
        signed = sign(method, f"/{bucket}/{key}", query, headers, scope, at)
        url = object_url(self._endpoint, bucket, key, canonical_query(query))
        return await send(self._session, Request("oss", operation, method, url, signed, body))

    def origin(self, bucket: str) -> str:
        """Return scheme, host and port that calls for this bucket go to."""
        return bucket_origin(self._endpoint, bucket)

    def _require_success(self, operation: str, answer: Answer, asked: str) -> None:
        if not 200 <= answer.status < 300:
            raise CallFailed(self._failure(operation, answer, asked))
        if _MARK not in answer.headers:
            raise CallFailed(from_elsewhere("oss", "OSS", operation, answer))

    def _failure(self, operation: str, answer: Answer, asked: str) -> Failure:
        error = read_error(answer)
        code, status = error.code, answer.status
        blame = _blame(status, code)
        return Failure(
            service="oss",
            operation=operation,
            outcome=Outcome.REJECTED if blame is Blame.ITEM else Outcome.RETRY_LATER,
            blame=blame,
            status=status,
            code=code,
            message=error.message or answer.excerpt(),
            request_id=error.request_id,
            retry_after_seconds=retry_after_seconds(answer.headers, self._clock.wall()),
            resource=asked,
            place=self._region,
        )


def facts_of(headers: Mapping[str, str]) -> ObjectFacts:
    """Read the headers of HeadObject; raises ValueError without a size."""
    return ObjectFacts(
        size=int(headers.get("Content-Length", "")),
        last_modified=modified_seconds(headers),
        etag=headers.get("ETag", "").strip('"'),
        crc64=crc64_of(headers, "x-oss-hash-crc64ecma"),
        kind=headers.get("x-oss-object-type", ""),
        storage_class=headers.get("x-oss-storage-class", ""),
        is_encrypted="x-oss-server-side-encryption" in headers,
    )


def _blame(status: int, code: str) -> Blame:
    if code in _CREDENTIAL_CODES or status == 401:
        return Blame.CREDENTIALS
    if status in (408, 429) or status >= 500:
        return Blame.PASSING
    # Our calls have one form: whatever else is refused (a wrong region, for one) is refused for every name.
    return Blame.ITEM if code in ("InvalidObjectName", NAME_TAKEN) else Blame.SERVICE
