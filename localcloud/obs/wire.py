"""OBS answers in XML, under the namespace of its samples. Errors carry none."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from urllib.parse import quote_plus

from localcloud.obs.behaviour import ObsBehaviour
from localcloud.obs.errors import ObsError, malformed_xml
from localcloud.service import Reply
from localcloud.storage.bucket import Bucket
from localcloud.storage.listing import Page
from localcloud.storage.stored import StoredObject
from localcloud.storage.xml import (
    HEAD,
    Encode,
    document,
    element,
    encoder,
    iso_time,
    nested,
    parsed,
)

NAMESPACE = "http://obs.myhwclouds.com/doc/2015-06-30/"
ACCOUNT_ID = "b0000000000000000000000000000001"
_XMLNS = re.compile(rb'\sxmlns="[^"]*"')


def answer(root: str, *children: str) -> str:
    """Return an XML document of a root element, in OBS's namespace, around finished children."""
    return f'{HEAD}<{root} xmlns="{NAMESPACE}">{"".join(children)}</{root}>'


def error_reply(error: ObsError, *, request_id: str, host_id: str) -> Reply:
    """Return the answer to a refused call."""
    body = document(
        "Error",
        element("Code", error.code),
        element("Message", error.message),
        element("RequestId", request_id),
        element("HostId", host_id),
        *(element(name, text) for name, text in error.details.items()),
    )
    return Reply(error.status, body, {"Content-Type": "application/xml"})


def parsed_body(body: bytes) -> ET.Element:
    """Return the root of an XML body without its namespace, or the refusal of a malformed one."""
    root = parsed(_XMLNS.sub(b"", body, count=1))
    if root is None:
        raise malformed_xml()
    return root


def encoder_of(encoding_type: str, behaviour: ObsBehaviour) -> Encode:
    """Return how keys stand in an answer."""
    if encoding_type == "url" and behaviour.plus_is_space_in_keys:
        return quote_plus
    return encoder(encoding_type)


def delete_result(
    deleted: Iterable[str],
    failed: Iterable[tuple[str, ObsError]],
    encoding_type: str,
    encode: Encode,
) -> str:
    """Return the DeleteResult naming the keys that are gone now, and those that are not."""
    kind = [element("EncodingType", encoding_type)] if encoding_type else []
    return answer(
        "DeleteResult",
        *kind,
        *(nested("Deleted", element("Key", encode(key))) for key in deleted),
        *(
            nested(
                "Error",
                element("Key", encode(key)),
                element("Code", error.code),
                element("Message", error.message),
            )
            for key, error in failed
        ),
    )


def list_result(
    bucket: Bucket, page: Page, echo: Mapping[str, object], encode: Encode, *, milliseconds: bool
) -> str:
    """Return a ListBucketResult; `echo` repeats the question and says how to go on."""
    found = (bucket.get(key) for key in page.keys)
    return answer(
        "ListBucketResult",
        element("Name", bucket.name),
        *(element(name, value) for name, value in echo.items()),
        *(_contents(each, encode, milliseconds) for each in found if each is not None),
        *(nested("CommonPrefixes", element("Prefix", encode(name))) for name in page.prefixes),
    )


def _contents(stored: StoredObject, encode: Encode, milliseconds: bool) -> str:
    modified = iso_time(stored.modified_at)
    if milliseconds:
        modified = f"{modified[:-4]}{int(stored.modified_at * 1000) % 1000:03d}Z"
    return nested(
        "Contents",
        element("Key", encode(stored.key)),
        element("LastModified", modified),
        element("ETag", f'"{stored.etag}"'),
        element("Size", stored.size),
        nested("Owner", element("ID", ACCOUNT_ID)),
        element("StorageClass", stored.described.storage_class),
    )
