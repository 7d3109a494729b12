"""Bucket operations: put, head, info, delete, and the two listings."""

from __future__ import annotations

import base64

from localcloud.oss.errors import OssError, invalid_argument
from localcloud.oss.naming import check_bucket_name
from localcloud.oss.turn import Outcome, Turn
from localcloud.oss.wire import bucket_info, list_result
from localcloud.service import Reply
from localcloud.storage.bucket import Bucket
from localcloud.storage.listing import Page, Wanted, page_of
from localcloud.storage.xml import encoder, xml_reply

KEYS_MAX = 1000
KEYS_DEFAULT = 100
DEFAULT_REGION = "cn-hangzhou"


def put_bucket(turn: Turn) -> Outcome:
    """Make a bucket; one that exists is left as it is."""
    name = turn.request.bucket
    check_bucket_name(name)
    turn.buckets.setdefault(name, Bucket(name, DEFAULT_REGION, turn.now))
    return Outcome(Reply(200, b"", {"Location": f"/{name}"}))


def head_bucket(turn: Turn) -> Outcome:
    """Tell whether a bucket exists and where."""
    return Outcome(Reply(200, b"", {"x-oss-bucket-region": turn.bucket.region}))


def get_bucket_info(turn: Turn) -> Outcome:
    """Describe a bucket."""
    return Outcome(xml_reply(bucket_info(turn.bucket, turn.header("Host"))))


def delete_bucket(turn: Turn) -> Outcome:
    """Remove an empty bucket."""
    bucket = turn.bucket
    if len(bucket) or bucket.uploads:
        message = "The bucket you tried to delete is not empty."
        raise OssError(409, "BucketNotEmpty", message, "0015-00000301")
    del turn.buckets[bucket.name]
    return Outcome(Reply(204))


def list_objects(turn: Turn) -> Outcome:
    """List one page the old way: `marker` and `NextMarker`."""
    query = turn.request.query
    marker = query.get("marker", "")
    wanted = _wanted(turn, marker)
    page = page_of(turn.bucket.keys(), wanted)
    encode = encoder(query.get("encoding-type", ""))
    echo: dict[str, object] = {"Marker": encode(marker)} | _echo(turn, wanted, page)
    if page.is_truncated:
        echo["NextMarker"] = encode(page.last)
    return Outcome(xml_reply(list_result(turn.bucket, page, echo, encode, with_owner=True)))


def list_objects_v2(turn: Turn) -> Outcome:
    """List one page the new way: `start-after`, `continuation-token`, `KeyCount`."""
    query = turn.request.query
    token = query.get("continuation-token", "")
    start_after = query.get("start-after", "")
    wanted = _wanted(turn, _key_of(token) if token else start_after)
    page = page_of(turn.bucket.keys(), wanted)
    encode = encoder(query.get("encoding-type", ""))
    echo = _echo(turn, wanted, page)
    echo["KeyCount"] = len(page.keys) + len(page.prefixes)
    if start_after:
        echo["StartAfter"] = encode(start_after)
    if token:
        echo["ContinuationToken"] = token
    if page.is_truncated:
        echo["NextContinuationToken"] = _token_of(page.last)
    with_owner = query.get("fetch-owner") == "true"
    return Outcome(xml_reply(list_result(turn.bucket, page, echo, encode, with_owner=with_owner)))


def _wanted(turn: Turn, after: str) -> Wanted:
    query = turn.request.query
    if query.get("encoding-type", "url") not in {"url", ""}:
        raise invalid_argument("Invalid Encoding Method specified in Request.")
    text = query.get("max-keys") or str(KEYS_DEFAULT)
    # Assumption: 0 is refused like any other number outside 1 to 1000.
    if not text.isdecimal() or not 1 <= int(text) <= KEYS_MAX:
        raise invalid_argument("Argument max-keys must be an integer between 1 and 1000.")
    return Wanted(query.get("prefix", ""), query.get("delimiter", ""), after, int(text))


def _echo(turn: Turn, wanted: Wanted, page: Page) -> dict[str, object]:
    encoding = turn.request.query.get("encoding-type", "")
    encode = encoder(encoding)
    echo: dict[str, object] = {
        "Prefix": encode(wanted.prefix),
        "MaxKeys": wanted.max_keys,
        "Delimiter": encode(wanted.delimiter),
        "IsTruncated": str(page.is_truncated).lower(),
    }
    if encoding:
        echo["EncodingType"] = encoding
    return echo


def _token_of(last: str) -> str:
    # Assumption: real tokens are as opaque; clients must hand them back unchanged.
    return base64.urlsafe_b64encode(last.encode()).decode().rstrip("=")


def _key_of(token: str) -> str:
    try:
        padded = token + "=" * (-len(token) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid_argument("The continuation token provided is incorrect.") from None
