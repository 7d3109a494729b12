"""Reading the answers of ListObjectsV2: one page of names at a time.

Facts: OSS developer reference, ListObjectsV2. With `encoding-type=url`, which is always asked for, keys,
common prefixes and the continuation token are URL-encoded, so that names survive that XML cannot carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote
from xml.etree import ElementTree as ET

PAGE_KEYS = 1000


class Damaged(ValueError):  # noqa: N818  a verdict about an answer
    """The answer is not a listing."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One object as a listing shows it; `last_modified` is seconds since the epoch."""

    key: str
    size: int
    last_modified: float


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing, in the order of the names' UTF-8 bytes. An empty `next_token` ends it."""

    objects: tuple[Listed, ...]
    prefixes: tuple[str, ...] = ()
    next_token: str = ""


def question(
    prefix: str, *, delimiter: str = "", start_after: str = "", token: str = ""
) -> Mapping[str, str]:
    """Return the query that asks for one page; `start_after` counts for the first page only."""
    asked = {
        "prefix": prefix,
        "delimiter": delimiter,
        "continuation-token": token,
        "start-after": "" if token else start_after,
    }
    fixed = {"list-type": "2", "encoding-type": "url", "max-keys": str(PAGE_KEYS)}
    return fixed | {name: value for name, value in asked.items() if value}


def page(body: bytes) -> Page:
    """Read a ListBucketResult. Raises `Damaged` if it is none."""
    try:
        root = ET.fromstring(body)
    except ET.ParseError as error:
        raise Damaged(f"not readable as XML ({error})") from error
    if _name(root) != "ListBucketResult":
        raise Damaged(f"expected <ListBucketResult>, found <{_name(root)}>")
    parts: dict[str, list[dict[str, str]]] = {}
    for child in root:
        parts.setdefault(_name(child), []).append(_fields(child))
    fields = _fields(root)
    is_truncated = fields.get("IsTruncated", "false").lower() == "true"
    token = unquote(fields.get("NextContinuationToken", "")) if is_truncated else ""
    if is_truncated and not token:
        raise Damaged("the listing goes on, but does not say where")
    return Page(
        tuple(_listed(each) for each in parts.get("Contents", ())),
        tuple(unquote(each.get("Prefix", "")) for each in parts.get("CommonPrefixes", ())),
        token,
    )


def _listed(fields: dict[str, str]) -> Listed:
    try:
        return Listed(
            unquote(fields["Key"]),
            int(fields["Size"]),
            datetime.fromisoformat(fields["LastModified"]).timestamp(),
        )
    except (KeyError, ValueError) as error:
        raise Damaged(f"an object without a usable {error}") from error


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _fields(parent: ET.Element) -> dict[str, str]:
    return {_name(child): child.text or "" for child in parent}
