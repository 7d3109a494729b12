"""The floor: bare aiohttp making the relay's calls for the same events, all signed, with no other logic.

Receive 16, post keys by 10, one record PUT per key (layout `object`) or for many (layout `log`), delete 16.
No dedupe, no leases, no retries, no logs, no metrics. Usage: python -m bench.floor URL KEYS_PER_RECORD COUNT
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
from urllib.parse import quote
from xml.etree import ElementTree as ET

import aiohttp
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


def event(body: str) -> dict[str, str]:
    """Decode an event the shortest way."""
    found = json.loads(base64.b64decode(body))["events"][0]
    return {
        "key": found["oss"]["object"]["key"],
        "etag": found["oss"]["object"]["eTag"],
        "event_time": found["eventTime"],
        "outcome": "accepted",
    }


async def main(url: str, keys_per_record: int, count: int) -> None:
    """Carry `count` events, 4 pollers, 32 posts at once."""
    taken = 0
    places = asyncio.Semaphore(32)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=256), cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        calls = Calls(url, session)
        waiting: list[tuple[str, dict[str, str]]] = []

        async def carry(batch: list[tuple[str, dict[str, str]]], handles: list[str]) -> None:
            events = [each for _, each in batch]
            for start in range(0, len(events), 10):
                await calls.post([each["key"] for each in events[start : start + 10]])
            await asyncio.gather(
                *(
                    calls.put(
                        f"r/t/{events[at]['key']}",
                        "\n".join(map(json.dumps, events[at : at + keys_per_record])).encode(),
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
        runner.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
