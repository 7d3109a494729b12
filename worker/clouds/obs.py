"""The destination: Huawei OBS over aiohttp. It is looked at, and a deletion is the only thing it is told.

Facts: OBS API reference (HeadObject obs_04_0084, GetObject obs_04_0083, ListObjects obs_04_0022, DeleteObject
obs_04_0085, error codes obs_04_0115). A bucket stands in the host; in the path only on addresses and
localhost. OBS refuses a key whose signatures are wrong again and again: the first one has to end the calls.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from urllib.parse import quote
from xml.etree import ElementTree as ET

import aiohttp

from worker.clock import Clock
from worker.clouds.http import (
    Answer,
    Request,
    crc64_of,
    from_elsewhere,
    modified_seconds,
    object_url,
    one_line,
    retry_after_seconds,
    send,
    unusable,
    with_skew,
)
from worker.clouds.listing import (
    BLANK_AND_PLUS,
    PAGE_KEYS,
    Attempt,
    Damaged,
    is_plus_a_blank,
    obs_page,
    obs_question,
    once,
    pages,
)
from worker.clouds.obs_signature import sign
from worker.clouds.oms_signature import HuaweiCredentials
from worker.config.addresses import bucket_origin
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.ports import ObjectFacts, Page

READ_BYTES_MAX = 1024 * 1024

# OBS puts its request id on all that it sends; a portal or a proxy does not.
_MARK = "x-obs-request-id"
_NONE: Mapping[str, str] = {}
_CREDENTIAL_CODES = frozenset(
    {
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TooManyWrongSignature",
    }
)
_PASSING_CODES = frozenset({"OperationAborted", "RequestTimeout", "SlowDown", "ServiceUnavailable"})
# The API reference names no CRC64 of HeadObject; the two official SDKs read one name each.
_CRC64 = ("x-obs-hash-crc64ecma", "x-obs-checksum-crc64ecma")
_ENCRYPTED = "x-obs-server-side-encryption"
NO_CODE = "refused without a code: a wrong signature, or no right to read"


class ObsClient:
    """Objects of one endpoint. Every attempt is signed anew; each call raises `CallFailed`."""

    def __init__(
        self,
        endpoint: str,
        credentials: Callable[[], HuaweiCredentials],
        session: aiohttp.ClientSession,
        clock: Clock,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._session = session
        self._clock = clock
        self._plus_is_blank: bool | None = None

    async def facts(self, bucket: str, key: str) -> ObjectFacts | None:
        """Return what HeadObject tells of an object; None if it is not there, or only a delete marker is."""
        answer = await self._call("HeadObject", "HEAD", bucket, key)
        if answer.status == HTTPStatus.NOT_FOUND and _MARK in answer.headers:
            return None
        self._require("HeadObject", answer, f"{bucket}/{key}", HTTPStatus.OK)
        try:
            return facts_of(answer.headers)
        except ValueError as error:
            raise CallFailed(unusable("obs", "HeadObject", answer.status, str(error))) from error

    async def read(self, bucket: str, key: str, start: int = 0) -> bytes:
        """Return at most 1 MiB of an object from a byte on; empty at its end, or if it is not there."""
        span = {"range": f"bytes={start}-{start + READ_BYTES_MAX - 1}"}
        answer = await self._call("GetObject", "GET", bucket, key, span)
        asked = f"{bucket}/{key}"
        if _MARK in answer.headers:
            failure = self._failure("GetObject", answer, asked)
            if failure.code in ("NoSuchKey", "InvalidRange"):
                return b""
        self._require("GetObject", answer, asked, HTTPStatus.PARTIAL_CONTENT)
        if not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise CallFailed(
                unusable("obs", "GetObject", answer.status, "another range than the one asked for")
            )
        return answer.body

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
        """List what begins with `prefix`, page by page, in the order of the names' UTF-8 bytes."""

        async def fetch(token: str) -> Page:
            query = obs_question(
                prefix, delimiter=delimiter, marker=token or start_after, keys_max=keys_max
            )
            body = await self._list_page(bucket, query)
            plus_is_blank = await self._reads_plus_as_blank(bucket, body)
            try:
                page = obs_page(body, plus_is_blank=plus_is_blank)
            except Damaged as error:
                raise CallFailed(
                    unusable("obs", "ListObjects", HTTPStatus.OK, str(error))
                ) from error
            marker = token or start_after
            if page.next_token and page.next_token.encode() <= marker.encode():
                why = "the listing does not go on: it would begin again"
                raise CallFailed(unusable("obs", "ListObjects", HTTPStatus.OK, why))
            return page

        async for page in pages(fetch, attempt):
            yield page

    async def _list_page(self, bucket: str, query: Mapping[str, str]) -> bytes:
        answer = await self._call("ListObjects", "GET", bucket, "", query=query)
        asked = f"{bucket}/{query.get('prefix', '')}"
        self._require("ListObjects", answer, asked, HTTPStatus.OK)
        return answer.body

    async def _reads_plus_as_blank(self, bucket: str, body: bytes) -> bool:
        """Find out what a `+` in the names of a page means: the vendor's pages leave it open.

        Where the page itself does not tell, OBS is asked once for names that begin with a blank and a plus.
        """
        if b"+" not in body:
            return False
        if self._plus_is_blank is None:
            self._plus_is_blank = is_plus_a_blank(body)
        if self._plus_is_blank is None:
            asked = obs_question(BLANK_AND_PLUS, keys_max=1)
            self._plus_is_blank = bool(is_plus_a_blank(await self._list_page(bucket, asked)))
        return self._plus_is_blank

    async def delete(self, bucket: str, key: str) -> None:
        """Delete an object; one that is not there counts as deleted."""
        answer = await self._call("DeleteObject", "DELETE", bucket, key)
        self._require("DeleteObject", answer, f"{bucket}/{key}", HTTPStatus.NO_CONTENT)

    def origin(self, bucket: str) -> str:
        """Return scheme, host and port that calls for this bucket go to."""
        return bucket_origin(self._endpoint, bucket)

    async def _call(
        self,
        operation: str,
        method: str,
        bucket: str,
        key: str,
        headers: Mapping[str, str] = _NONE,
        query: Mapping[str, str] = _NONE,
    ) -> Answer:
        now = self._clock.wall()
        signed = sign(method, (bucket, key), query, headers, self._credentials(), now)
        asked = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        url = object_url(self._endpoint, bucket, key, asked)
        return await send(self._session, Request("obs", operation, method, url, signed))

    def _require(self, operation: str, answer: Answer, asked: str, status: int) -> None:
        """Raise unless it is the success that OBS documents for this call: others answer with a 200, too."""
        if _MARK not in answer.headers:
            raise CallFailed(from_elsewhere("obs", "OBS", operation, answer))
        if answer.status != status:
            raise CallFailed(self._failure(operation, answer, asked))

    def _failure(self, operation: str, answer: Answer, asked: str) -> Failure:
        code, message, request_id = _told(answer)
        if 200 <= answer.status < 300:
            return unusable("obs", operation, answer.status, "a success that is none of this call")
        blame, now = _blame(answer.status, code), self._clock.wall()
        return Failure(
            service="obs",
            operation=operation,
            outcome=Outcome.RETRY_LATER,
            blame=blame,
            status=answer.status,
            code=code,
            message=with_skew(message or answer.excerpt() or NO_CODE, answer, blame, now),
            request_id=request_id,
            retry_after_seconds=retry_after_seconds(answer.headers, now),
            resource=asked,
            place=self._endpoint,
        )


def facts_of(headers: Mapping[str, str]) -> ObjectFacts:
    """Read the headers of HeadObject; raises ValueError without a size.

    A storage class and a type are told only where they are not the usual ones.
    """
    is_of_parts = "x-obs-uploadId" in headers
    return ObjectFacts(
        size=int(headers.get("Content-Length", "")),
        last_modified=modified_seconds(headers),
        etag=headers.get("ETag", "").strip('"'),
        crc64=crc64_of(headers, *_CRC64),
        kind=headers.get("x-obs-object-type", "Multipart" if is_of_parts else "Normal"),
        storage_class=headers.get("x-obs-storage-class", "STANDARD"),
        is_encrypted=any(name.lower().startswith(_ENCRYPTED) for name in headers),
    )


def _told(answer: Answer) -> tuple[str, str, str]:
    """Return code, message and request id of a refusal; HeadObject has no body to tell a code in."""
    fields: dict[str, str] = {}
    # Unknown encodings and those of many bytes are told as ValueError and LookupError.
    with suppress(ET.ParseError, ValueError, LookupError):
        fields = {child.tag: child.text or "" for child in ET.fromstring(answer.body)}
    request_id = fields.get("RequestId") or answer.headers.get(_MARK, "")
    return (
        one_line(fields.get("Code", "")),
        one_line(fields.get("Message", "")),
        one_line(request_id),
    )


def _blame(status: int, code: str) -> Blame:
    # Where no code says that the right is missing, it may be the signature, and a second one may be too many.
    is_unsaid = status == HTTPStatus.FORBIDDEN and not code
    if code in _CREDENTIAL_CODES or status == HTTPStatus.UNAUTHORIZED or is_unsaid:
        return Blame.CREDENTIALS
    if code in _PASSING_CODES or status in (408, 429) or status >= 500:
        return Blame.PASSING
    return Blame.SERVICE
