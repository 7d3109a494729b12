"""A stand-in for MNS, OSS, OMS and OBS, as fast as one core can be, so that clients are what is measured.

It checks no signature and keeps no object; it counts. Latency is added per service. A control path
(`/control/...`) loads events, reports, and resets. Loopback only. Run: python -m bench.standin [port]
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import cast
from urllib.parse import parse_qs, urlsplit

import uvloop

BATCH = 16
EMPTY = (
    b'<?xml version="1.0" ?>\n<Error xmlns="http://mns.aliyuncs.com/doc/v1">\n'
    b"  <Code>MessageNotExist</Code>\n"
    b"  <Message>Message not exist.</Message>\n  <RequestId>0</RequestId>\n  <HostId>http://127.0.0.1</HostId>\n</Error>"
)
ATTRIBUTES = "".join(
    f"  <{name}>{value}</{name}>\n"
    for name, value in {
        "QueueName": "bench",
        "VisibilityTimeout": 300,
        "MessageRetentionPeriod": 345600,
        "DelayMessages": 0,
    }.items()
)


@dataclass
class State:
    """What is waiting, what was handed out, and what came back."""

    waiting: deque[int] = field(default_factory=deque)
    loaded_at: float = 0.0
    seconds_each: float = 0.0
    handed_out: int = 0
    deleted: int = 0
    deleted_after: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    keys_posted: int = 0
    connections: int = 0
    latency: dict[str, float] = field(default_factory=lambda: {"mns": 0.0, "oss": 0.0, "oms": 0.0})
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    loading: asyncio.Task[None] | None = None
    last_delete_at: float = 0.0

    def load(self, count: int, per_second: float, first: int) -> None:
        """Enqueue the events from number `first` on: all at once, or evenly paced."""
        self.loaded_at = time.perf_counter()
        self.seconds_each = 1 / per_second if per_second else 0.0
        if per_second:
            self.loading = asyncio.create_task(self._feed(count))
        else:
            self.waiting.extend(range(first, first + count))
            self.arrived.set()

    async def _feed(self, count: int) -> None:
        for number in range(count):
            wait = self.enqueued_at(number) - time.perf_counter()
            if wait > 0.001:
                await asyncio.sleep(wait)
            self.waiting.append(number)
            self.arrived.set()

    def enqueued_at(self, number: int) -> float:
        return self.loaded_at + number * self.seconds_each

    def report(self) -> dict[str, object]:
        """Say all that is known. It sorts what was deleted, so it is for the end of a run."""
        took = sorted(self.deleted_after)
        return {
            "calls": dict(self.calls),
            "keys_posted": self.keys_posted,
            "connections": self.connections,
            "p50_seconds": took[len(took) // 2] if took else 0,
            "p99_seconds": took[int(len(took) * 0.99)] if took else 0,
            "seconds": self.last_delete_at - self.loaded_at,
        }


TASK = b'{"status": "SYNCHRONIZING", "src_bucket": "source-bucket", "dst_bucket": "copies"}'
EVENT = json.dumps(
    {
        "events": [
            {
                "eventName": "ObjectCreated:PutObject",
                "eventSource": "acs:oss",
                "eventTime": "%s",
                "eventVersion": "1.0",
                "oss": {
                    "bucket": {
                        "arn": "acs:oss:cn-hangzhou:1234567890:source-bucket",
                        "name": "source-bucket",
                        "ownerIdentity": "1234567890",
                        "virtualBucket": "",
                    },
                    "object": {
                        "deltaSize": 122_880,
                        "eTag": "%032X",
                        "key": "photos/2026/11/%02d/image-%08d.jpg",
                        "size": 122_880,
                    },
                    "ossSchemaVersion": "1.0",
                    "ruleId": "bench",
                },
                "region": "cn-hangzhou",
                "requestParameters": {"sourceIPAddress": "192.0.2.7"},
                "responseElements": {"requestId": "%024X"},
                "userIdentity": {"principalId": "1234567890"},
            }
        ]
    }
).encode()


def body(number: int) -> str:
    """Return a genuine event as MNS carries it."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()).encode()
    return base64.b64encode(EVENT % (now, number, number % 97, number, number)).decode()


def messages(batch: list[int]) -> bytes:
    """Return the answer of a batch receive in the recorded live form."""
    now = int(time.time() * 1000)
    parts = [
        f"  <Message>\n    <MessageId>{number:032X}</MessageId>\n"
        f"    <MessageBodyMD5>{0:032X}</MessageBodyMD5>\n"
        f"    <MessageBody>{body(number)}</MessageBody>\n"
        f"    <ReceiptHandle>{number:032X}-MQ==</ReceiptHandle>\n"
        f"    <EnqueueTime>{now}</EnqueueTime>\n    <FirstDequeueTime>{now}</FirstDequeueTime>\n"
        f"    <NextVisibleTime>{now + 300_000}</NextVisibleTime>\n    <DequeueCount>1</DequeueCount>\n"
        f"    <Priority>8</Priority>\n  </Message>\n"
        for number in batch
    ]
    head = '<?xml version="1.0" ?>\n<Messages xmlns="http://mns.aliyuncs.com/doc/v1">\n'
    return (head + "".join(parts) + "</Messages>").encode()


Answer = tuple[int, bytes]


class Server:
    """Routes by path: `/queues/` is MNS, `/v2/` OMS, `/copies/` OBS, `/control/` ours, all else is OSS."""

    def __init__(self, state: State) -> None:
        self.state = state

    async def answer(self, method: str, target: str, content: bytes) -> Answer:
        parts = urlsplit(target)
        if parts.path.startswith("/queues/"):
            return await self._mns(method, parts.path, parse_qs(parts.query), content)
        if parts.path.startswith("/v2/"):
            return await self._oms(method, content)
        if parts.path.startswith("/copies/"):
            self.state.calls[f"obs {method}"] += 1
            return 200, b"" if method == "HEAD" else b"<ListBucketResult></ListBucketResult>"
        if parts.path.startswith("/control/"):
            return self._control(parts.path.removeprefix("/control/"), parse_qs(parts.query))
        self.state.calls[f"oss {method}"] += 1
        await self._delay("oss")
        return 200, b""

    async def _delay(self, service: str) -> None:
        if seconds := self.state.latency[service]:
            await asyncio.sleep(seconds)

    async def _mns(
        self, method: str, path: str, query: dict[str, list[str]], content: bytes
    ) -> Answer:
        state = self.state
        if "peekonly" in query:
            state.calls["mns peek"] += 1
            return (200, messages([state.waiting[0]])) if state.waiting else (404, EMPTY)
        if method == "GET" and path.endswith("/messages"):
            return await self._receive(
                int(query.get("numOfMessages", ["1"])[0]), float(query.get("waitseconds", ["0"])[0])
            )
        if method == "DELETE":
            state.calls["mns delete"] += 1
            await self._delay("mns")
            handles = query.get("ReceiptHandle") or [
                part.partition(b"<")[0].decode() for part in content.split(b"<ReceiptHandle>")[1:]
            ]
            now = time.perf_counter()
            state.deleted += len(handles)
            state.deleted_after += [now - state.enqueued_at(int(each[:32], 16)) for each in handles]
            state.last_delete_at = now
            return 204, b""
        state.calls[f"mns {method}"] += 1
        counts = (
            f"  <ActiveMessages>{len(state.waiting)}</ActiveMessages>\n"
            f"  <InactiveMessages>{state.handed_out - state.deleted}</InactiveMessages>\n"
        )
        return 200, f"<Queue>\n{ATTRIBUTES}{counts}</Queue>".encode()

    async def _receive(self, count: int, wait_seconds: float) -> Answer:
        state = self.state
        deadline = time.perf_counter() + wait_seconds
        while not state.waiting and (left := deadline - time.perf_counter()) > 0:
            state.arrived.clear()
            try:
                await asyncio.wait_for(state.arrived.wait(), left)
            except TimeoutError:
                break
        state.calls["mns receive"] += 1
        batch = [state.waiting.popleft() for _ in range(min(count, BATCH, len(state.waiting)))]
        state.handed_out += len(batch)
        await self._delay("mns")
        return (200, messages(batch)) if batch else (404, EMPTY)

    async def _oms(self, method: str, content: bytes) -> Answer:
        self.state.calls[f"oms {method}"] += 1
        await self._delay("oms")
        if method == "GET":
            return 200, TASK
        self.state.keys_posted += content.count(b'",') + 1
        return 200, b""

    def _control(self, verb: str, query: dict[str, list[str]]) -> Answer:
        if verb == "load":
            first = int(query.get("first", ["0"])[0])
            self.state.load(int(query["count"][0]), float(query["per_second"][0]), first)
        elif verb == "reset":
            latency = {name: float(query[name][0]) for name in ("mns", "oss", "oms")}
            connections = self.state.connections
            self.state = State(latency=latency, connections=connections)
        elif verb == "mark":
            self.state.calls.clear()
            self.state.connections = 0
        elif verb == "warm":
            self.state.calls.clear()
            self.state.deleted_after.clear()
        elif verb == "report":
            return 200, json.dumps(self.state.report()).encode()
        return 200, json.dumps({"deleted": len(self.state.deleted_after)}).encode()


class Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, just enough for well-behaved clients."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.buffer = b""
        self.tasks: set[asyncio.Task[None]] = set()
        self.is_counted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio.Transport, though they behave alike.
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (end := self.buffer.find(b"\r\n\r\n")) >= 0:
            head, rest = self.buffer[:end], self.buffer[end + 4 :]
            length = _content_length(head, rest)
            if length is None or len(rest) < length:
                return
            content, self.buffer = rest[:length], rest[length:]
            method, target, _ = head.split(b"\r\n", 1)[0].decode().split(" ", 2)
            if not (self.is_counted or target.startswith("/control/")):
                self.is_counted = True
                self.server.state.connections += 1
            task = asyncio.ensure_future(self._serve(method, target, content))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _serve(self, method: str, target: str, content: bytes) -> None:
        status, answer = await self.server.answer(method, target, content)
        if self.transport.is_closing():
            return
        length = b"" if status == 204 else b"Content-Length: %d\r\n" % len(answer)
        self.transport.write(
            b"HTTP/1.1 %d OK\r\n%s%sDate: Tue, 24 Nov 2026 00:00:00 GMT\r\n\r\n%s"
            % (status, length, _marks(target), answer)
        )


def _marks(target: str) -> bytes:
    """Return the headers by which a vendor's answers are known."""
    if target.startswith("/v2/"):
        return b"Content-Type: application/json\r\nX-Request-Id: 0\r\n"
    if target.startswith("/copies/"):
        return _copied(target)
    name = b"x-mns-request-id" if target.startswith("/queues/") else b"x-oss-request-id"
    return b"Content-Type: text/xml;charset=utf-8\r\n%s: 0\r\n" % name


def _copied(target: str) -> bytes:
    """Return the headers of a copy: just made, of the very content that the event of its key told."""
    number = int(target.removesuffix(".jpg")[-8:]) if target.endswith(".jpg") else 0
    return (
        f'x-obs-request-id: 0\r\nETag: "{number:032X}"\r\nLast-Modified: {formatdate(usegmt=True)}\r\n'
    ).encode()


def _content_length(head: bytes, rest: bytes) -> int | None:
    """Return the length of the body; None while a chunked one (oss2 sends such) has no end."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        end = rest.find(b"0\r\n\r\n")
        return end + 5 if end >= 0 else None
    at = lower.find(b"content-length:")
    return int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0


async def main(port: int, started: Callable[[int], None]) -> None:
    """Serve on loopback until cancelled."""
    server = Server(State())
    listener = await asyncio.get_running_loop().create_server(
        lambda: Connection(server), "127.0.0.1", port, backlog=1024
    )
    started(listener.sockets[0].getsockname()[1])
    await listener.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, suppress(KeyboardInterrupt):
        runner.run(main(int((sys.argv[1:] or ["0"])[0]), lambda port: print(port, flush=True)))
