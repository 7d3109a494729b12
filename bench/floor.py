"""The floor: bare aiohttp making the relay's calls for the same events, all signed, with no other logic.

Receive 16, post keys by 10, one record PUT per key (layout `object`) or for many (layout `log`), delete 16.
No dedupe, no leases, no retries, no logs, no metrics. The strict floor signs and reads by the shortest way
that is still right, the other one with the vendors' SDKs, as most people would.
Usage: python -m bench.floor strict|sdks URL KEYS_PER_RECORD COUNT
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import sys
import time
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import quote
from xml.etree import ElementTree as ET

import aiohttp
import orjson
import oss2
import uvloop
from mns.mns_client import MNSClient
from mns.mns_http import RequestInternal
from mns.mns_request import RequestBase
from mns.mns_xml_handler import ReceiptHandlesEncoder
from yarl import URL

from worker.clock import SystemClock
from worker.clouds.oms_signature import HuaweiCredentials, sign

SPACE = "{http://mns.aliyuncs.com/doc/v1}"
HUAWEI = HuaweiCredentials("BENCHKEY", "bench-secret")


class Signable:
    """The part of an oss2 request that its V4 signer reads and writes."""

    product = "oss"
    cloudbox_id = None

    def __init__(self, method: str, headers: dict[str, str], region: str) -> None:
        self.method = method
        self.headers = headers
        self.params: dict[str, str] = {}
        self.region = region


class Calls:
    """The four calls, signed by the SDKs, as anyone would who writes this straight away."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session
        self.mns = MNSClient(url, "bench", "bench-secret")
        self.oss = oss2.ProviderAuthV4(
            oss2.credentials.StaticCredentialsProvider("bench", "secret")
        )

    async def _send(
        self, method: str, target: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, bytes]:
        url = URL(self.url + target, encoded=True)
        async with self.session.request(
            method, url, headers=headers, data=body or None
        ) as response:
            return response.status, await response.read()

    async def _mns(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        request = RequestInternal(method, target, data=body or "")
        self.mns.build_header(RequestBase(), request)
        return await self._send(method, target, request.header, body)

    async def receive(self) -> list[tuple[str, str]]:
        status, answer = await self._mns(
            "GET", "/queues/bench/messages?numOfMessages=16&waitseconds=1"
        )
        if status != 200:
            return []
        return [
            (each.findtext(f"{SPACE}ReceiptHandle", ""), each.findtext(f"{SPACE}MessageBody", ""))
            for each in ET.fromstring(answer)
        ]

    async def post(self, keys: list[str]) -> None:
        body = json.dumps({"object_keys": [quote(key, safe="") for key in keys]}).encode()
        target = "/v2/p/sync-tasks/t/events"
        headers = sign(
            "POST",
            URL(self.url + target, encoded=True),
            {"Content-Type": "application/json"},
            body,
            HUAWEI,
            SystemClock.wall(),
        )
        await self._send("POST", target, headers, body)

    async def put(self, name: str, body: bytes) -> None:
        headers = {
            "content-type": "application/json",
            "content-md5": base64.b64encode(hashlib.md5(body).digest()).decode(),
        }
        self.oss._sign_request(Signable("PUT", headers, "cn-hangzhou"), "records", name)
        await self._send("PUT", f"/records/{quote(name, safe='')}", headers, body)

    async def delete(self, handles: list[str]) -> None:
        await self._mns("DELETE", "/queues/bench/messages", ReceiptHandlesEncoder.encode(handles))


DAY_SECRET = b"secret"
PAIR = re.compile(r"<MessageBody>([^<]*)</MessageBody>|<ReceiptHandle>([^<]*)</ReceiptHandle>")


class StrictCalls(Calls):
    """The same calls with signatures computed directly: nothing is left to take away."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        super().__init__(url, session)
        self.host = url.partition("://")[2]

    async def _mns(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        date = formatdate(usegmt=True)
        kind = "text/xml;charset=UTF-8"
        # As the SDK does: Base64 of the hexadecimal digits.
        md5 = base64.b64encode(hashlib.md5(body).hexdigest().encode()).decode() if body else ""
        text = f"{method}\n{md5}\n{kind}\n{date}\nx-mns-version:2015-06-06\n{target}"
        proof = base64.b64encode(hmac.digest(b"bench-secret", text.encode(), "sha1")).decode()
        headers = {
            "Date": date,
            "Content-Type": kind,
            "x-mns-version": "2015-06-06",
            "Authorization": f"MNS bench:{proof}",
        }
        if body:
            headers["Content-MD5"] = md5
        return await self._send(method, target, headers, body)

    async def receive(self) -> list[tuple[str, str]]:
        status, answer = await self._mns(
            "GET", "/queues/bench/messages?numOfMessages=16&waitseconds=1"
        )
        if status != 200:
            return []
        found = PAIR.findall(answer.decode())
        bodies = [body for body, _ in found if body]
        handles = [handle for _, handle in found if handle]
        return list(zip(handles, bodies, strict=True))

    async def post(self, keys: list[str]) -> None:
        body = orjson.dumps({"object_keys": [quote(key, safe="") for key in keys]})
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        names = "content-type;host;x-sdk-date"
        request = (
            f"POST\n/v2/p/sync-tasks/t/events/\n\ncontent-type:application/json\nhost:{self.host}\n"
            f"x-sdk-date:{date}\n\n{names}\n{hashlib.sha256(body).hexdigest()}"
        )
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"SDK-HMAC-SHA256\n{date}\n{digest}"
        proof = hmac.digest(b"bench-secret", text.encode(), "sha256").hex()
        headers = {
            "Content-Type": "application/json",
            "X-Sdk-Date": date,
            "Authorization": f"SDK-HMAC-SHA256 Access=BENCHKEY, SignedHeaders={names}, Signature={proof}",
        }
        await self._send("POST", "/v2/p/sync-tasks/t/events", headers, body)

    async def put(self, name: str, body: bytes) -> None:
        md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
        date = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        place = f"{date[:8]}/cn-hangzhou/oss/aliyun_v4_request"
        whole = quote(name, safe="")
        request = (
            f"PUT\n/records/{quote(name, safe='/~')}\n\ncontent-md5:{md5}\ncontent-type:application/json\n"
            f"x-oss-content-sha256:UNSIGNED-PAYLOAD\nx-oss-date:{date}\n\n\nUNSIGNED-PAYLOAD"
        )
        digest = hashlib.sha256(request.encode()).hexdigest()
        text = f"OSS4-HMAC-SHA256\n{date}\n{place}\n{digest}"
        proof = hmac.digest(day_key(date[:8]), text.encode(), "sha256").hex()
        headers = {
            "content-type": "application/json",
            "content-md5": md5,
            "x-oss-content-sha256": "UNSIGNED-PAYLOAD",
            "x-oss-date": date,
            "authorization": f"OSS4-HMAC-SHA256 Credential=bench/{place}, Signature={proof}",
        }
        await self._send("PUT", f"/records/{whole}", headers, body)

    async def delete(self, handles: list[str]) -> None:
        rows = "".join(f"<ReceiptHandle>{handle}</ReceiptHandle>" for handle in handles)
        body = f'<ReceiptHandles xmlns="http://mns.aliyuncs.com/doc/v1/">{rows}</ReceiptHandles>'
        await self._mns("DELETE", "/queues/bench/messages", body.encode())


@lru_cache(maxsize=2)
def day_key(day: str) -> bytes:
    """Derive the key that signs OSS requests on this day."""
    key = b"aliyun_v4" + DAY_SECRET
    for part in (day, "cn-hangzhou", "oss", "aliyun_v4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def event(body: str) -> dict[str, str]:
    """Decode an event the shortest way."""
    found = orjson.loads(base64.b64decode(body))["events"][0]
    return {
        "key": found["oss"]["object"]["key"],
        "etag": found["oss"]["object"]["eTag"],
        "event_time": found["eventTime"],
        "outcome": "accepted",
    }


async def main(kind: str, url: str, keys_per_record: int, count: int) -> None:
    """Carry `count` events, 4 pollers, 32 posts at once."""
    taken = 0
    places = asyncio.Semaphore(32)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=256), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        calls = (StrictCalls if kind == "strict" else Calls)(url, session)
        waiting: list[tuple[str, dict[str, str]]] = []

        async def carry(batch: list[tuple[str, dict[str, str]]], handles: list[str]) -> None:
            events = [each for _, each in batch]
            for start in range(0, len(events), 10):
                await calls.post([each["key"] for each in events[start : start + 10]])
            await asyncio.gather(
                *(
                    calls.put(
                        f"r/t/{events[at]['key']}",
                        b"\n".join(map(orjson.dumps, events[at : at + keys_per_record])),
                    )
                    for at in range(0, len(events), keys_per_record)
                )
            )
            await asyncio.gather(
                *(calls.delete(handles[at : at + 16]) for at in range(0, len(handles), 16))
            )
            places.release()

        async with asyncio.TaskGroup() as group:

            async def poll() -> None:
                nonlocal taken
                while taken < count:
                    received = await calls.receive()
                    taken += len(received)
                    waiting.extend((handle, event(body)) for handle, body in received)
                    # 80 is the least that fills posts of 10 and deletes of 16: no call is wasted.
                    while len(waiting) >= 80 or (waiting and taken >= count):
                        batch, waiting[:] = waiting[:80], waiting[80:]
                        await places.acquire()
                        group.create_task(carry(batch, [handle for handle, _ in batch]))

            for _ in range(4):
                group.create_task(poll())


if __name__ == "__main__":
    print("ready", flush=True)
    sys.stdin.readline()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
