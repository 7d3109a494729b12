"""Bucket operations: create, head, delete, and list."""

from __future__ import annotations

from localcloud.obs.content import check_bucket_name
from localcloud.obs.errors import ObsError, invalid_argument
from localcloud.obs.turn import Turn
from localcloud.obs.wire import encoder_of, list_result
from localcloud.service import Reply
from localcloud.storage.bucket import Bucket
from localcloud.storage.listing import Wanted, page_of
from localcloud.storage.xml import xml_reply

KEYS_MAX = 1000
DEFAULT_REGION = "cn-north-4"


def create_bucket(turn: Turn) -> Reply:
    """Make a bucket; one that exists is left as it is."""
    name = turn.request.bucket
    check_bucket_name(name)
    turn.buckets.setdefault(name, Bucket(name, DEFAULT_REGION, turn.now))
    return Reply(200, b"", {"Location": f"/{name}"})


def head_bucket(turn: Turn) -> Reply:
    """Tell whether a bucket exists and where."""
    return Reply(200, b"", {"x-obs-bucket-location": turn.bucket.region})


def api_version(turn: Turn) -> Reply:
    """Tell that this bucket speaks OBS; the Python SDK asks so, unsigned, before its first call."""
    return Reply(200, b"", {"x-obs-api": "3.0", "x-obs-bucket-location": turn.bucket.region})


def delete_bucket(turn: Turn) -> Reply:
    """Remove an empty bucket."""
    bucket = turn.bucket
    if len(bucket) or bucket.uploads:
        raise ObsError(409, "BucketNotEmpty", "The bucket you tried to delete is not empty")
    del turn.buckets[bucket.name]
    return Reply(204)


def list_objects(turn: Turn) -> Reply:
    """List one page: `marker`, and `NextMarker` in the order of the keys' UTF-8 bytes."""
    query, bucket = turn.request.query, turn.bucket
    encoding, marker = query.get("encoding-type", ""), query.get("marker", "")
    if encoding not in {"", "url"}:
        raise invalid_argument("Invalid Encoding Method specified in Request.")
    wanted = Wanted(
        query.get("prefix", ""),
        query.get("delimiter", ""),
        marker,
        _max_keys(query.get("max-keys", "")),
    )
    page = page_of(bucket.keys(), wanted)
    encode = encoder_of(encoding, turn.behaviour)
    echo: dict[str, object] = {"Prefix": encode(wanted.prefix), "Marker": encode(marker)}
    if page.is_truncated and turn.behaviour.gives_next_marker:
        echo["NextMarker"] = encode(page.last)
    echo["MaxKeys"] = wanted.max_keys
    if wanted.delimiter:
        echo["Delimiter"] = encode(wanted.delimiter)
    if encoding:
        echo["EncodingType"] = encoding
    echo["IsTruncated"] = str(page.is_truncated).lower()
    milliseconds = turn.behaviour.lists_milliseconds
    reply = xml_reply(list_result(bucket, page, echo, encode, milliseconds=milliseconds))
    reply.headers["x-obs-bucket-location"] = bucket.region
    return reply


def _max_keys(text: str) -> int:
    """Return the size of a page; what is not within 1 to 1000 counts as 1000 (obs_04_0022)."""
    if not text:
        return KEYS_MAX
    if not text.lstrip("-").isdecimal():
        raise invalid_argument("Argument max-keys must be an integer.")
    return int(text) if 1 <= int(text) <= KEYS_MAX else KEYS_MAX
