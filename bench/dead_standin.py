"""A stand-in for OSS and MNS that holds any number of dead letters and makes its listings as it goes.

It checks no signature. A letter is a number and two bits: whether it is in `dead_letter/` and in `archived/`.
Other objects are kept as they come. Loopback only. Run: python -m bench.dead_standin letters mns_ms oss_ms
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from functools import lru_cache
from typing import cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

import uvloop

DAY = "2026-11-24"
ROOT = "oms_source_record/bench/"
DEAD, ARCHIVED, INDEX = (
    f"{ROOT}{folder}/rejected/{DAY}/" for folder in ("dead_letter", "archived", "letter_index")
)
GROUPS = 30
PAGE = 1000
DIED_AT = f"{DAY}T10:00:00.000+00:00"
DIED_MS = 1_795_514_400_000
HEX = 32
_ENTRY = re.compile(rb"<MessageBody>")


def error(number: int) -> str:
    """Letters fail in thirty ways."""
    return f"oms CreateSyncEvents answered 400 OMS.{number % GROUPS:04d}: refused"


@lru_cache(maxsize=GROUPS)
def group(way: int) -> str:
    """Return the group of a way to fail, as the relay names it."""
    from worker.ledger.letter import fingerprint  # noqa: PLC0415  the stand-in starts without it

    return fingerprint("rejected", error(way))


def letter(number: int) -> bytes:
    """Return a letter as the relay writes it."""
    key = f"photos/2026/image-{number:08d}.jpg"
    return json.dumps(
        {
            "cause": "rejected",
            "error": error(number),
            "keys": [{"key": key, "error": error(number)}],
            "message_id": f"{number:032X}",
            "attempts": 1,
            "worker": "bench",
            "died_at": DIED_AT,
            "enqueued_at": DIED_AT,
            "body": f"body {number}",
        },
        indent=1,
    ).encode()


class Bucket:
    """The log bucket, and the queue's counter."""

    def __init__(self, count: int) -> None:
        self.dead = bytearray(b"\x01") * count
        self.archived = bytearray(count)
        self.others: dict[str, bytes] = {}
        self.calls: Counter[str] = Counter()
        self.sent = 0

    def flags(self, name: str) -> tuple[bytearray, int] | None:
        """Return the folder of a letter and its number; None for another object."""
        for folder, flags in ((DEAD, self.dead), (ARCHIVED, self.archived)):
            if name.startswith(folder):
                return flags, int(name[len(folder) :][:HEX], 16)
        return None

    def get(self, name: str) -> bytes | None:
        """Read an object."""
        found = self.flags(name)
        if found is None:
            return self.others.get(name)
        flags, number = found
        return letter(number) if number < len(flags) and flags[number] else None

    def put(self, name: str, body: bytes, *, may_replace: bool) -> bool:
        """Write an object; False if the name is taken."""
        found = self.flags(name)
        if found is not None:
            found[0][found[1]] = 1
        elif name in self.others and not may_replace:
            return False
        else:
            self.others[name] = body
        return True

    def delete(self, name: str) -> None:
        """Delete an object."""
        found = self.flags(name)
        if found is not None:
            found[0][found[1]] = 0
        else:
            self.others.pop(name, None)

    def page(self, prefix: str, delimiter: str, after: str) -> tuple[list[str], list[str], bool]:
        """Return names, folders, and whether there is more."""
        for folder, flags in ((DEAD, self.dead), (ARCHIVED, self.archived), (INDEX, None)):
            if not folder.startswith(prefix):
                continue
            if delimiter:
                rest = folder[len(prefix) :].split("/")[0]
                return [], [f"{prefix}{rest}/"], False
            return self._numbered(folder, flags, after)
        names = sorted(n for n in self.others if n.startswith(prefix) and n > after)
        return names[:PAGE], [], len(names) > PAGE

    def _numbered(
        self, folder: str, flags: bytearray | None, after: str
    ) -> tuple[list[str], list[str], bool]:
        text = after[len(folder) :] if after.startswith(folder) else ""
        start = int(text[:HEX], 16) + (".json" in text[HEX:]) if len(text) >= HEX else 0
        names: list[str] = []
        for number in self._standing(flags, start):
            if len(names) == PAGE:
                return names, [], True
            end = f".{group(number % GROUPS)}.{DIED_MS}" if flags is None else ".json"
            names.append(f"{folder}{number:032X}{end}")
        return names, [], False

    def _standing(self, flags: bytearray | None, start: int) -> Iterator[int]:
        if flags is None:
            yield from range(start, len(self.dead))
            return
        number = flags.find(1, start)
        while number >= 0:
            yield number
            number = flags.find(1, number + 1)


def listing(bucket: Bucket, query: dict[str, list[str]]) -> bytes:
    """Answer ListObjectsV2."""
    asked = {name: values[0] for name, values in query.items()}
    after = asked.get("continuation-token") or asked.get("start-after", "")
    names, folders, is_cut = bucket.page(asked.get("prefix", ""), asked.get("delimiter", ""), after)
    contents = "".join(
        f"<Contents><Key>{quote(name, safe='/')}</Key><LastModified>{DAY}T10:00:00.000Z</LastModified>"
        f"<ETag>&quot;0&quot;</ETag><Size>500</Size></Contents>"
        for name in names
    )
    more = (
        f"<NextContinuationToken>{quote(names[-1], safe='')}</NextContinuationToken>"
        if is_cut
        else ""
    )
    prefixes = "".join(
        f"<CommonPrefixes><Prefix>{each}</Prefix></CommonPrefixes>" for each in folders
    )
    cut = "true" if is_cut else "false"
    return (
        f"<ListBucketResult><IsTruncated>{cut}</IsTruncated>{more}{contents}{prefixes}</ListBucketResult>"
    ).encode()


class Connection(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self, bucket: Bucket, seconds: dict[str, float]) -> None:
        self._bucket, self._seconds = bucket, seconds
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, parted, body = self._buffer.partition(b"\r\n\r\n")
        if not parted:
            return
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if length and len(body) < int(length[1]):
            return
        self._buffer = b""
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        is_mns = target.startswith("/queues/")
        may_replace = b"forbid-overwrite" not in head.lower()
        status, content = self._answered(method, target, body, may_replace=may_replace)
        now = formatdate(usegmt=True)
        answer = (
            f"HTTP/1.1 {status} OK\r\nContent-Length: {len(content)}\r\nDate: {now}\r\n"
            f"Last-Modified: Tue, 24 Nov 2026 10:00:00 GMT\r\nx-oss-request-id: 1\r\n"
            f"x-mns-request-id: 1\r\n\r\n"
        ).encode() + content
        wait = self._seconds["mns" if is_mns else "oss"]
        if wait:
            asyncio.get_running_loop().call_later(wait, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def _answered(
        self, method: str, target: str, body: bytes, *, may_replace: bool
    ) -> tuple[int, bytes]:
        bucket, parts = self._bucket, urlsplit(target)
        if parts.path.startswith("/queues/"):
            return 201, self._sent(body)
        if parts.path == "/control":
            return 200, json.dumps({"calls": bucket.calls, "sent": bucket.sent}).encode()
        query, name = parse_qs(parts.query), unquote(parts.path.split("/", 2)[2])
        bucket.calls["list" if query else method] += 1
        if query:
            return 200, listing(bucket, query)
        if method == "GET":
            found = bucket.get(name)
            missing = b"<Error><Code>NoSuchKey</Code></Error>"
            return (404, missing) if found is None else (200, found)
        if method == "PUT":
            taken = b"<Error><Code>FileAlreadyExists</Code></Error>"
            return (200, b"") if bucket.put(name, body, may_replace=may_replace) else (409, taken)
        bucket.delete(name)
        return 204, b""

    def _sent(self, body: bytes) -> bytes:
        count = len(_ENTRY.findall(body))
        self._bucket.calls["send"] += 1
        self._bucket.sent += count
        one = "<Message><MessageId>M{}</MessageId></Message>"
        parts = "".join(one.format(self._bucket.sent - n) for n in range(count))
        return (f"<Messages>{parts}</Messages>" if b"<Messages" in body else parts).encode()


async def main(bucket: Bucket, seconds: dict[str, float], started: Callable[[int], None]) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(bucket, seconds), "127.0.0.1", 0)
    started(server.sockets[0].getsockname()[1])
    await server.serve_forever()


if __name__ == "__main__":
    letters, mns_ms, oss_ms = (float(each) for each in sys.argv[1:4])
    waits = {"mns": mns_ms / 1000, "oss": oss_ms / 1000}
    uvloop.run(main(Bucket(int(letters)), waits, lambda port: print(port, flush=True)))
    time.sleep(0)
