"""OSS answers in XML. None carries a namespace: real OSS answers have none either."""

from __future__ import annotations

import base64
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from localcloud.oss.bucket import Bucket
from localcloud.oss.errors import OssError, malformed_xml
from localcloud.oss.listing import Page
from localcloud.oss.stored import StoredObject
from localcloud.service import Reply

ACCOUNT_ID = "1000000000000001"
_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")

Encode = Callable[[str], str]


def document(root: str, *children: str) -> str:
    """Return an XML document of a root element around finished children."""
    return f"{_HEAD}<{root}>{''.join(children)}</{root}>"


def element(name: str, text: object) -> str:
    """Return one element around escaped text.

    Assumption: characters that XML 1.0 cannot carry arrive as U+FFFD; in listings only
    `encoding-type=url` saves them, which is what it is for.
    """
    safe = _NOT_XML.sub("\ufffd", str(text)).translate(_ESCAPES)
    return f"<{name}>{safe}</{name}>"


def nested(name: str, *children: str) -> str:
    """Return one element around finished children."""
    return f"<{name}>{''.join(children)}</{name}>"


def encoder(encoding_type: str) -> Encode:
    """Return how keys stand in an answer: as they are, or URL-encoded under `encoding-type=url`."""
    return _quoted if encoding_type == "url" else str


def iso_time(seconds: float) -> str:
    """Return a time as listings and events show it; always whole seconds."""
    return _iso_time(int(seconds))


def error_reply(error: OssError, *, request_id: str, host: str, is_head: bool) -> Reply:
    """Return the answer to a refused call; to a HEAD the body stands Base64 in `x-oss-err`."""
    body = document(
        "Error",
        element("Code", error.code),
        element("Message", error.message),
        element("RequestId", request_id),
        element("HostId", host),
        *(element(name, text) for name, text in error.details.items()),
        element("EC", error.ec),
    )
    headers = {"Content-Type": "application/xml", "x-oss-ec": error.ec, **error.headers}
    if is_head:
        headers["x-oss-err"] = base64.b64encode(body.encode()).decode()
    return Reply(error.status, body, headers)


def parsed(body: bytes) -> ET.Element:
    """Return the root of an XML body, or the refusal of one that is malformed or has a DOCTYPE."""
    if b"<!DOCTYPE" in body:
        raise malformed_xml()
    try:
        return ET.fromstring(body)
    except ET.ParseError:
        raise malformed_xml() from None


def xml_reply(body: str) -> Reply:
    """Return a 200 with an XML body."""
    return Reply(200, body, {"Content-Type": "application/xml"})


def list_result(
    bucket: Bucket, page: Page, echo: Mapping[str, object], encode: Encode, *, with_owner: bool
) -> str:
    """Return a ListBucketResult; `echo` repeats the question and says how to go on."""
    found = (bucket.get(key) for key in page.keys)
    return document(
        "ListBucketResult",
        element("Name", bucket.name),
        *(element(name, value) for name, value in echo.items()),
        *(_contents(stored, encode, with_owner) for stored in found if stored is not None),
        *(nested("CommonPrefixes", element("Prefix", encode(name))) for name in page.prefixes),
    )


def bucket_info(bucket: Bucket, host: str) -> str:
    """Return the BucketInfo of a private Standard bucket; its endpoints are this very service."""
    info = nested(
        "Bucket",
        element("Name", bucket.name),
        element("CreationDate", iso_time(bucket.created_at)),
        element("Location", f"oss-{bucket.region}"),
        element("Region", bucket.region),
        element("StorageClass", "Standard"),
        element("DataRedundancyType", "LRS"),
        element("ExtranetEndpoint", host),
        element("IntranetEndpoint", host),
        _owner(),
        nested("AccessControlList", element("Grant", "private")),
    )
    return document("BucketInfo", info)


def delete_result(keys: Iterable[str], encoding_type: str) -> str:
    """Return the DeleteResult naming every key that is gone now."""
    encode = encoder(encoding_type)
    kind = [element("EncodingType", encoding_type)] if encoding_type else []
    gone = (nested("Deleted", element("Key", encode(key))) for key in keys)
    return document("DeleteResult", *kind, *gone)


def _contents(stored: StoredObject, encode: Encode, with_owner: bool) -> str:
    return nested(
        "Contents",
        element("Key", encode(stored.key)),
        element("LastModified", iso_time(stored.modified_at)),
        element("ETag", f'"{stored.etag}"'),
        element("Type", stored.kind),
        element("Size", stored.size),
        element("StorageClass", stored.described.storage_class),
        _owner() if with_owner else "",
    )


def _owner() -> str:
    return nested("Owner", element("ID", ACCOUNT_ID), element("DisplayName", ACCOUNT_ID))


@lru_cache(maxsize=64)
def _iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
