"""OSS answers in XML. None carries a namespace: real OSS answers have none either."""

from __future__ import annotations

import base64
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping

from localcloud.oss.errors import OssError, malformed_xml
from localcloud.service import Reply
from localcloud.storage.bucket import Bucket
from localcloud.storage.listing import Page
from localcloud.storage.stored import StoredObject
from localcloud.storage.xml import Encode, document, element, encoder, iso_time, nested, parsed

ACCOUNT_ID = "1000000000000001"


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


def parsed_body(body: bytes) -> ET.Element:
    """Return the root of an XML body, or the refusal of one that is malformed."""
    root = parsed(body)
    if root is None:
        raise malformed_xml()
    return root


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
