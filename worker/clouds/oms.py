"""Huawei OMS synchronization tasks over aiohttp: CreateSyncEvents and ShowSyncTask.

Facts: OMS API reference, CreateSyncEvents, ShowSyncTask and error codes; APIG error codes (devg-apisign).
200 means accepted, with an empty body. Error codes are unreliable: the status is read first.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import aiohttp
from yarl import URL

from worker.clock import Clock
from worker.clouds.http import (
    Answer,
    Request,
    from_elsewhere,
    one_line,
    retry_after_seconds,
    send,
    with_skew,
)
from worker.clouds.oms_signature import HuaweiCredentials, sign
from worker.config.addresses import SyncTask
from worker.errors import Blame, CallFailed, Failure, Outcome
from worker.events.keys import quote_for_oms
from worker.ports import CopyCounts, TaskState

# Real texts of Huawei services name the throttle's window: "... limit:100,time:1 minute".
_WINDOW = re.compile(r"over ratelimit,limit:\d+,time:(\d{1,6}) (second|minute|hour)")
_WINDOW_UNIT_SECONDS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}

# A redirect, a log-in, a part, a cache or a proxy that speaks for itself: no answer to a POST of ours.
_OF_STRANGERS = (
    "location",
    "refresh",
    "content-range",
    "age",
    "x-cache",
    "www-authenticate",
    "proxy-authenticate",
    "x-squid-error",
)
# CreateSyncEvents documents 200. The others mean that a call was done, or will be; 203 comes from a proxy,
# and 205, 206, 208 and 226 answer other questions than ours.
_ACCEPTING = frozenset({200, 201, 202, 204})
_EMPTY_BYTES_MAX = 64
# S3M is the former name of OMS, APIGW the gateway before it.
# The gateway repeats the whole request that it could not verify: nobody finds the cause behind it.
_ECHO = re.compile(r",?\s*canonicalRequest:.*", re.DOTALL)
_CODE_OF_OMS = re.compile(r"(OMS|S3M|APIGW)\.\d+")

# OMS error codes: all of them come with status 400, these whatever the keys are.
_NEVER_THE_KEYS = {
    "OMS.0005": Blame.SERVICE,  # no such method
    "OMS.0053": Blame.SERVICE,  # query failed, or no permission
    "OMS.0054": Blame.SERVICE,  # invalid task ID
    "OMS.0066": Blame.SERVICE,  # task not in progress
    "OMS.0068": Blame.CREDENTIALS,  # token authentication failed
    "OMS.0070": Blame.SERVICE,  # task complete
    "OMS.0072": Blame.SERVICE,  # no permission
    "OMS.0079": Blame.SERVICE,  # source region not supported
    "OMS.0080": Blame.SERVICE,  # destination region not supported
    "OMS.0201": Blame.SERVICE,  # account restricted
    "OMS.0202": Blame.SERVICE,  # account frozen
    "OMS.0203": Blame.SERVICE,  # identity not verified
    "OMS.0204": Blame.SERVICE,  # identity not verified
    "OMS.1001": Blame.PASSING,  # internal error
    # Whether it counts towards the lock of the key is not documented: taken as if it did.
    "OMS.1005": Blame.CREDENTIALS,  # authentication failed
    "OMS.1008": Blame.SERVICE,  # method not supported
    "OMS.1009": Blame.SERVICE,  # resource not found: no such task
    "OMS.1020": Blame.SERVICE,  # destination bucket cannot be accessed
    "OMS.1021": Blame.SERVICE,  # quota
}


_STEP_SECONDS = {"FIVE_MINUTES": 300.0, "ONE_HOUR": 3600.0}
_STEPS_NOT_FINAL = 2


class OmsClient:
    """One sync task. Every attempt is signed anew over exactly the bytes that are sent."""

    def __init__(
        self,
        task: SyncTask,
        credentials: Callable[[], HuaweiCredentials],
        session: aiohttp.ClientSession,
        clock: Clock,
    ) -> None:
        self._events_url = URL(task.url, encoded=True)
        self._task_url = task.url.removesuffix("/events")
        self._credentials = credentials
        self._session = session
        self._clock = clock

    async def post(self, keys: Sequence[str]) -> str:
        """Announce the keys; return the request id (often empty). Raises `CallFailed` unless accepted."""
        body = json.dumps(
            {"object_keys": [quote_for_oms(key) for key in keys]}, separators=(",", ":")
        ).encode()
        answer = await self._call("CreateSyncEvents", "POST", self._events_url, body)
        if not 200 <= answer.status < 300:
            raise CallFailed(classify("CreateSyncEvents", answer, self._clock.wall()))
        return accepted(answer)

    async def show(self) -> TaskState:
        """Return the task's state. Raises `CallFailed`."""
        url = URL(f"{self._task_url}?query_time={int(self._clock.wall() * 1000)}", encoded=True)
        answer = await self._call("ShowSyncTask", "GET", url, b"")
        if answer.status != HTTPStatus.OK:
            raise CallFailed(classify("ShowSyncTask", answer, self._clock.wall()))
        details = _json_object(answer.body)
        if "status" not in details:
            raise CallFailed(from_elsewhere("oms", "OMS", "ShowSyncTask", answer))
        return TaskState(str(details["status"]), details)

    async def copies(self, since: float, until: float) -> CopyCounts:
        """Return what OMS counted between two times (epoch seconds). Raises `CallFailed`.

        OMS API reference, ListSyncTaskStatistic: counts come in steps, empty steps are left out, and a number
        may be a string. How late the newest steps are is not told: two steps are left out as not final.
        """
        url = URL(
            f"{self._task_url}/statistics?data_type=REQUEST,SUCCESS,FAILURE,SKIP"
            f"&start_time={int(since * 1000)}&end_time={int(until * 1000)}",
            encoded=True,
        )
        answer = await self._call("ListSyncTaskStatistic", "GET", url, b"")
        if answer.status != HTTPStatus.OK:
            raise CallFailed(classify("ListSyncTaskStatistic", answer, self._clock.wall()))
        try:
            return _counted(_json_object(answer.body), until)
        except (LookupError, TypeError, ValueError) as error:
            stranger = from_elsewhere("oms", "OMS", "ListSyncTaskStatistic", answer)
            raise CallFailed(stranger) from error

    async def _call(self, operation: str, method: str, url: URL, body: bytes) -> Answer:
        headers = {"Content-Type": "application/json"}
        signed = sign(method, url, headers, body, self._credentials(), self._clock.wall())
        return await send(self._session, Request("oms", operation, method, url, signed, body))


def _counted(details: Mapping[str, Any], until: float) -> CopyCounts:
    step = _STEP_SECONDS.get(details.get("statistic_time_type", ""), max(_STEP_SECONDS.values()))
    final_ms = (until - _STEPS_NOT_FINAL * step) * 1000
    sums: Counter[str] = Counter()
    for series in details["statistic_datas"]:
        for each in series["data"]:
            if int(each["time_stamp"]) <= final_ms:
                sums[series["data_type"]] += int(each["statistic_num"])
    return CopyCounts(sums["REQUEST"], sums["SUCCESS"] + sums["FAILURE"] + sums["SKIP"])


def accepted(answer: Answer) -> str:
    """Return the request id of an accepted post. Raises `CallFailed` if this 2xx is not OMS's."""
    if not is_acceptance(answer):
        raise CallFailed(from_elsewhere("oms", "OMS", "CreateSyncEvents", answer))
    return one_line(answer.headers.get("X-Request-Id", ""))


def is_acceptance(answer: Answer) -> bool:
    """Whether a 2xx is OMS's: no body, or an empty JSON object, and no header that only a stranger sends.

    OMS API reference, CreateSyncEvents: the answer has no body. What a proxy, a firewall or a portal says
    with a 200 must not count: the change would be lost.
    """
    kinds = [
        value.partition(";")[0].strip().lower()
        for name, value in answer.headers.items()
        if name.lower() == "content-type"
    ]
    is_strange = any(map(_is_strange_kind, kinds)) or any(
        name in answer.headers for name in _OF_STRANGERS
    )
    if answer.status not in _ACCEPTING or len(answer.body) > _EMPTY_BYTES_MAX:
        return False
    body = answer.body.strip(b" \t\r\n")
    is_empty = not body or (body[:1] == b"{" and not body[1:-1].strip() and body[-1:] == b"}")
    return is_empty and not is_strange


def _is_strange_kind(kind: str) -> bool:
    """Whether a body of this type is for people or browsers."""
    return kind.endswith(("html", "xml", "script", "css")) or kind.startswith(
        ("image/", "audio/", "video/", "font/")
    )


def classify(operation: str, answer: Answer, now: float) -> Failure:
    """Turn an answer that is not a success into a `Failure`: status first, code second."""
    details = _json_object(answer.body)
    code = one_line(
        str(details.get("error_code") or details.get("errorCode") or details.get("code") or "")
    )
    text = str(details.get("error_msg") or details.get("errorMsg") or details.get("message") or "")
    blame = _blame(answer.status, code)
    if blame is Blame.ITEM and not _CODE_OF_OMS.fullmatch(code):
        # What refuses a key names a code of OMS or its gateway; a firewall or a proxy does not.
        return from_elsewhere("oms", "OMS", operation, answer)
    return Failure(
        service="oms",
        operation=operation,
        outcome=Outcome.REJECTED if blame is Blame.ITEM else Outcome.RETRY_LATER,
        blame=blame,
        status=answer.status,
        code=code,
        message=with_skew(one_line(_ECHO.sub("", text)) or answer.excerpt(), answer, blame, now),
        request_id=one_line(
            str(details.get("request_id") or answer.headers.get("X-Request-Id", ""))
        ),
        retry_after_seconds=_retry_after(answer, text, now),
    )


def _blame(status: int, code: str) -> Blame:
    if status in (408, 429) or status >= 500:
        return Blame.PASSING
    # Only 401 says that a signature was not believed; 403 is a right that is missing (devg-apisign).
    if status == 401:
        return Blame.CREDENTIALS
    # 405 is a frozen account or an exhausted quota at the gateway; 404 a wrong host, project or task.
    if status in (403, 404, 405) or 300 <= status < 400:
        return Blame.SERVICE
    # S3M is the former name of OMS; the numbers are the same.
    return _NEVER_THE_KEYS.get(code.replace("S3M.", "OMS.", 1), Blame.ITEM)


def _retry_after(answer: Answer, text: str, now: float) -> float | None:
    asked = retry_after_seconds(answer.headers, now)
    window = _WINDOW.search(text)
    if asked is None and window:
        return int(window[1]) * _WINDOW_UNIT_SECONDS[window[2]]
    return asked


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
