"""Two buckets of any size that exist only as listings: OSS and OBS, each page made when it is asked for.

Names are numbers in order, equal on both sides but for one in `--gap-every` that has no copy. It answers as
OSS, as OBS, and for rclone as S3. Signatures are not checked.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import re
from email.utils import formatdate
from urllib.parse import parse_qsl, quote, urlsplit

PAGE = 1000
ETAGS = [hashlib.md5(b"%d" % number).hexdigest() for number in range(PAGE)]
HEX = "0123456789abcdef"


class Space:
    """So many names in order: number `n` has a name, and a text has the number of the first name after it."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.digits = max(10, len(str(count)))

    def name(self, number: int) -> str:
        return f"photos/{number:0{self.digits}}.jpg"

    def after(self, text: str) -> int:
        """Return the number of the first name that is greater than the text."""
        low, high = 0, self.count
        while low < high:
            half = (low + high) // 2
            if self.name(half) <= text:
                low = half + 1
            else:
                high = half
        return low


def entry(side: str, key: str, number: int) -> str:
    etag, at = (
        ETAGS[number % PAGE],
        f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}",
    )
    if side == "oss":
        return (
            f"<Contents><Key>{key}</Key><LastModified>2024-01-01T{at}.000Z</LastModified><ETag>"
            f'"{etag.upper()}"</ETag><Type>Normal</Type><Size>{1000 + number % 7919}</Size><StorageClass>'
            "Standard</StorageClass></Contents>"
        )
    return (
        f"<Contents><Key>{key}</Key><LastModified>2024-01-02T{at}.000Z</LastModified><ETag>"
        f'"{etag}"</ETag><Size>{1000 + number % 7919}</Size><Owner><ID>b0000000000000000000000000000001'
        "</ID></Owner><StorageClass>STANDARD</StorageClass></Contents>"
    )


class Served:
    """The answers to both clouds and to S3, by the path: `/source` and `/destination`."""

    def __init__(self, space: Space, gap_every: int) -> None:
        self._space = space
        self._gap_every = gap_every

    def answer(self, method: str, target: str) -> tuple[int, bytes]:
        parts = urlsplit(target)
        asked = dict(parse_qsl(parts.query, keep_blank_values=True))
        bucket = parts.path.strip("/").partition("/")[0]
        if parts.path.startswith("/v2/"):
            task = (
                b'{"status": "SYNCHRONIZING", "src_bucket": "source", "dst_bucket": "destination"}'
            )
            return 200, task
        if "location" in asked:
            return 200, b'<?xml version="1.0"?><LocationConstraint>us-east-1</LocationConstraint>'
        if method in ("PUT", "DELETE"):
            return 200, b""
        if bucket not in ("source", "destination") or parts.path.strip("/") != bucket:
            return 404, b"<Error><Code>NoSuchKey</Code></Error>"
        return 200, self._page(bucket, asked).encode()

    def _page(self, bucket: str, asked: dict[str, str]) -> str:
        space = self._space
        if asked.get("delimiter") and asked.get("prefix", "") == "":
            # rclone walks folders: there is one.
            return (
                f'<?xml version="1.0"?>\n<ListBucketResult><Name>{bucket}</Name><Prefix></Prefix>'
                "<IsTruncated>false</IsTruncated><CommonPrefixes><Prefix>photos/</Prefix></CommonPrefixes>"
                "</ListBucketResult>"
            )
        side = "oss" if bucket == "source" else "obs"
        begin = (
            asked.get("continuation-token") or asked.get("start-after") or asked.get("marker", "")
        )
        first = space.after(max(begin, asked.get("prefix", "")))
        size = min(PAGE, int(asked.get("max-keys", PAGE)))
        numbers = range(first, min(space.count, first + size))
        encode = asked.get("encoding-type") == "url"
        names = [space.name(number) for number in numbers]
        is_short = side == "obs" and self._gap_every
        found = "".join(
            entry(side, quote(name, safe="") if encode else name, number)
            for name, number in zip(names, numbers, strict=True)
            if not (is_short and number % self._gap_every == self._gap_every - 1)
        )
        is_cut = numbers.stop < space.count
        token = (
            f"<NextContinuationToken>{quote(names[-1])}</NextContinuationToken>" if is_cut else ""
        )
        marker = f"<NextMarker>{quote(names[-1])}</NextMarker>" if is_cut and side == "obs" else ""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult>'
            f"<Name>{bucket}</Name><Prefix></Prefix><MaxKeys>{size}</MaxKeys>"
            f"<IsTruncated>{str(is_cut).lower()}</IsTruncated>{token}{marker}{found}</ListBucketResult>"
        )


class Connection(asyncio.Protocol):
    """HTTP/1.1 with requests that have no body, or one that is passed over."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unread += data
        while b"\r\n\r\n" in self._unread:
            head, _, rest = self._unread.partition(b"\r\n\r\n")
            text = head.decode("latin-1")
            length = re.search(r"(?im)^content-length: *(\d+)", text)
            size = int(length[1]) if length else 0
            if len(rest) < size:
                return
            self._unread = rest[size:]
            method, target, _ = text.split(" ", 2)
            status, body = self._served.answer(method, target)
            headers = (
                f"HTTP/1.1 {status} OK\r\nServer: listings\r\nDate: {formatdate(usegmt=True)}\r\n"
                "x-oss-request-id: 1\r\nx-obs-request-id: 1\r\nContent-Type: application/xml\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            self._transport.write(headers.encode() + (b"" if method == "HEAD" else body))


async def main() -> None:
    """Serve until killed; the port is printed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--gap-every", type=int, default=0)
    given = parser.parse_args()
    served = Served(Space(given.count), given.gap_every)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(served), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
