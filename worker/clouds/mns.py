"""MNS over aiohttp. Signing and errors are aliyun-mns-sdk's (`mns_sdk.py`); only its transport is replaced.

The SDK's own transport blocks, has no time-out over https and is not thread-safe.
Protocol facts: MNS API 2015-06-06, pages receivemessage, batchdeletemessage, changemessagevisibility.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

from worker.clock import Clock
from worker.clouds import mns_wire
from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.http import Answer, Request, from_elsewhere, retry_after_seconds, send
from worker.clouds.mns_sdk import MnsSdk
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.events.event import Message
from worker.ports import BATCH, QueueAttributes

T = TypeVar("T")

VISIBILITY_SECONDS_MIN = 1
VISIBILITY_SECONDS_MAX = 43_200

# A handle that is dead: its time passed, the message was received again, or it is already deleted.
_GONE = frozenset({"MessageNotExist", "ReceiptHandleError"})
# Only these name a message or a handle; what is refused elsewhere is refused for every message.
_OF_ONE_ITEM = frozenset(
    {"BatchDeleteMessage", "BatchSendMessage", "ChangeMessageVisibility", "SendMessage"}
)
# MNS puts its version and a request id on all that it sends; a portal or a proxy does not.
_MARK = "x-mns-"
_CREDENTIAL_CODES = frozenset(
    {
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "TimeExpired",
        "InvalidDateHeader",
        "InvalidSecurityToken",
    }
)


class MnsClient:
    """One queue. Polls and acknowledgements have a connection pool each: 30-second polls starve nobody."""

    def __init__(
        self,
        endpoint: str,
        queue: str,
        credentials: Callable[[], AlibabaCredentials],
        sessions: tuple[aiohttp.ClientSession, aiohttp.ClientSession],
        clock: Clock,
    ) -> None:
        self._endpoint = endpoint
        self._queue = queue
        self._path = f"/queues/{queue}"
        self._polls, self._acks = sessions
        self._clock = clock
        self._sdk = MnsSdk(endpoint, credentials)

    async def receive(self, wait_seconds: int, count: int = BATCH) -> list[Message]:
        """Long-poll for up to 16 messages; an empty queue gives an empty list. Raises `CallFailed`."""
        target = f"{self._path}/messages?numOfMessages={count}&waitseconds={wait_seconds}"
        answer = await self._send(self._polls, "BatchReceiveMessage", "GET", target)
        if answer.status == 404 and self._sdk.error(answer)[0] == "MessageNotExist":
            return []
        self._require_success("BatchReceiveMessage", answer)
        return self._read("BatchReceiveMessage", answer, mns_wire.messages)

    async def delete(self, handles: Sequence[str]) -> dict[str, str]:
        """Delete up to 16 messages; return the handles that failed, with the error code of each.

        A dead handle counts as deleted: the message is already gone, or someone else holds it now.
        Raises `CallFailed` when the call as a whole failed.
        """
        body = mns_wire.receipt_handles(handles)
        answer = await self._send(
            self._acks, "BatchDeleteMessage", "DELETE", f"{self._path}/messages", body
        )
        if answer.status < 300:
            self._require_success("BatchDeleteMessage", answer)
            return {}
        failed = mns_wire.failed_handles(answer.body)
        if not failed and self._sdk.error(answer)[0] not in _GONE:
            self._require_success("BatchDeleteMessage", answer)
        return {handle: code for handle, code in failed.items() if code not in _GONE}

    async def change_visibility(self, handle: str, seconds: int) -> str | None:
        """Make the message visible again in `seconds` from now; return the new receipt handle.

        Every change kills the old handle. None means that the lease is already lost. MNS refuses 0,
        so releasing at once is 1 second. Raises `CallFailed`.
        """
        seconds = min(max(seconds, VISIBILITY_SECONDS_MIN), VISIBILITY_SECONDS_MAX)
        target = f"{self._path}/messages?ReceiptHandle={quote(handle, safe='')}&VisibilityTimeout={seconds}"
        answer = await self._send(self._acks, "ChangeMessageVisibility", "PUT", target)
        if answer.status >= 400 and self._sdk.error(answer)[0] in _GONE:
            return None
        self._require_success("ChangeMessageVisibility", answer)
        return self._read("ChangeMessageVisibility", answer, mns_wire.receipt_handle)

    async def send(self, body: str, intent: str = "") -> str:
        """Send one message whose body is this very text; return its id once MNS has stored it.

        `intent` is what the message brings back as `Message.intent`.
        Raises `CallFailed`: after `UNKNOWN` the message may be in the queue, and sending it again doubles it.
        """
        try:
            written = mns_wire.outgoing(body, intent)
        except mns_wire.Damaged as error:
            raise CallFailed(
                Failure("mns", "SendMessage", Outcome.REJECTED, Blame.ITEM, message=str(error))
            ) from error
        answer = await self._send(
            self._acks, "SendMessage", "POST", f"{self._path}/messages", written
        )
        self._require_success("SendMessage", answer)
        return self._read("SendMessage", answer, mns_wire.sent_id)

    async def send_batch(self, entries: Sequence[tuple[str, str]]) -> list[str | Failure]:
        """Send up to 16 messages of 64 KiB together, each a body and its intent, or none.

        Return the id of each, or why MNS did not take it. Raises `CallFailed` where nothing is told of single
        messages: with `ITEM` one of them is bad, and none was sent.
        """
        operation = "BatchSendMessage"
        try:
            written = mns_wire.outgoing_batch(entries)
        except mns_wire.Damaged as error:
            raise CallFailed(
                Failure("mns", operation, Outcome.REJECTED, Blame.ITEM, message=str(error))
            ) from error
        answer = await self._send(self._acks, operation, "POST", f"{self._path}/messages", written)
        # A batch that was taken in part is answered with an error that names each message.
        if b"<Messages" not in answer.body or not _is_from_mns(answer):
            self._require_success(operation, answer)
        sent = self._read(operation, answer, mns_wire.sent_batch)
        if len(sent) != len(entries):
            why = f"the answer tells of {len(sent)} messages, not of {len(entries)}"
            raise CallFailed(
                Failure("mns", operation, Outcome.UNKNOWN, Blame.PASSING, answer.status, "", why)
            )
        return [each.message_id or self._unsent(answer.status, each) for each in sent]

    def _unsent(self, status: int, entry: mns_wire.Sent) -> Failure:
        is_passing = entry.code in ("InternalError", "QpsLimitExceeded", "")
        return Failure(
            "mns",
            "BatchSendMessage",
            Outcome.RETRY_LATER if is_passing else Outcome.REJECTED,
            Blame.PASSING if is_passing else Blame.ITEM,
            status,
            entry.code,
            entry.message,
            resource=self._queue,
            place=self._endpoint,
        )

    async def peek(self) -> list[Message]:
        """Look at up to 16 visible messages; nothing changes for them. Raises `CallFailed`."""
        target = f"{self._path}/messages?peekonly=true&numOfMessages={BATCH}"
        answer = await self._send(self._acks, "BatchPeekMessage", "GET", target)
        if answer.status == 404 and self._sdk.error(answer)[0] == "MessageNotExist":
            return []
        self._require_success("BatchPeekMessage", answer)
        return self._read("BatchPeekMessage", answer, mns_wire.peeked)

    async def attributes(self) -> QueueAttributes:
        """Return the queue's attributes. Raises `CallFailed`."""
        answer = await self._send(self._acks, "GetQueueAttributes", "GET", self._path)
        self._require_success("GetQueueAttributes", answer)
        return self._read("GetQueueAttributes", answer, mns_wire.attributes)

    async def _send(
        self,
        session: aiohttp.ClientSession,
        operation: str,
        method: str,
        target: str,
        body: bytes = b"",
    ) -> Answer:
        headers = self._sdk.headers(method, target, body)
        url = URL(self._endpoint + target, encoded=True)
        return await send(session, Request("mns", operation, method, url, headers, body))

    def _read(self, operation: str, answer: Answer, read: Callable[[bytes], T]) -> T:
        try:
            return read(answer.body)
        except mns_wire.Damaged as error:
            # The call may well have taken effect: the messages come back when their visibility ends.
            raise CallFailed(
                Failure(
                    "mns", operation, Outcome.UNKNOWN, Blame.PASSING, answer.status, "", str(error)
                )
            ) from error

    def _require_success(self, operation: str, answer: Answer) -> None:
        if answer.status >= 300:
            self._fail(operation, answer)
        if not _is_from_mns(answer):
            raise CallFailed(from_elsewhere("mns", "MNS", operation, answer))

    def _fail(self, operation: str, answer: Answer) -> NoReturn:
        code, message, request_id = self._sdk.error(answer)
        blame = _blame(answer.status, code)
        if blame is Blame.ITEM and operation not in _OF_ONE_ITEM:
            blame = Blame.SERVICE
        if blame is Blame.ITEM and not code and not _is_from_mns(answer):
            raise CallFailed(from_elsewhere("mns", "MNS", operation, answer))
        outcome = Outcome.REJECTED if blame is Blame.ITEM else Outcome.RETRY_LATER
        wait = retry_after_seconds(answer.headers, self._clock.wall())
        raise CallFailed(
            Failure(
                "mns",
                operation,
                outcome,
                blame,
                answer.status,
                code,
                message,
                request_id,
                wait,
                resource=self._queue,
                place=self._endpoint,
            )
        )


def _is_from_mns(answer: Answer) -> bool:
    return any(name.lower().startswith(_MARK) for name in answer.headers)


def _blame(status: int, code: str) -> Blame:
    if code in _CREDENTIAL_CODES or status == 401 or (status == 403 and code != "AccessDenied"):
        return Blame.CREDENTIALS
    if status in (403, 404) or 300 <= status < 400:
        return Blame.SERVICE
    if status in (408, 429) or status >= 500 or code == "QpsLimitExceeded":
        return Blame.PASSING
    return Blame.ITEM
