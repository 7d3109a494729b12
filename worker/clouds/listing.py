"""Reading listings: one page of names at a time, of OSS (ListObjectsV2) or of OBS (ListObjects).

Facts: OSS developer reference, ListObjectsV2; OBS API reference, "Listing objects in a bucket" (obs_04_0022).
Both are asked for `encoding-type=url`: then keys, common prefixes and the place to go on are URL-encoded, so
that names survive that XML cannot carry. Both list in the order of the names' UTF-8 bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import datetime
from typing import TypeAlias
from urllib.parse import unquote, unquote_plus
from xml.etree import ElementTree as ET

from worker.ports import Listed, Page

PAGE_KEYS = 1000
# A prefix that shows how a service writes a blank: OBS repeats the question, encoded like its names.
BLANK_AND_PLUS = " +"


class Damaged(ValueError):  # noqa: N818  a verdict about an answer
    """The answer is not a listing."""


# How one page of a listing is fetched: once, unless the caller wraps the call in its own retries.
Attempt: TypeAlias = Callable[[Callable[[], Awaitable[Page]]], Awaitable[Page]]


async def once(attempt: Callable[[], Awaitable[Page]]) -> Page:
    """Fetch a page once."""
    return await attempt()


async def pages(
    fetch: Callable[[str], Awaitable[Page]], attempt: Attempt = once
) -> AsyncIterator[Page]:
    """Yield page after page; `fetch` gets the token of the page before, empty for the first."""
    token = ""
    while True:
        found = await attempt(lambda: fetch(token))  # noqa: B023  it is awaited before the token changes
        yield found
        token = found.next_token
        if not token:
            return


def oss_question(
    prefix: str, *, delimiter: str = "", start_after: str = "", token: str = ""
) -> Mapping[str, str]:
    """Return the query that asks OSS for one page; `start_after` counts for the first page only."""
    asked = {
        "prefix": prefix,
        "delimiter": delimiter,
        "continuation-token": token,
        "start-after": "" if token else start_after,
    }
    fixed = {"list-type": "2", "encoding-type": "url", "max-keys": str(PAGE_KEYS)}
    return fixed | {name: value for name, value in asked.items() if value}


def obs_question(
    prefix: str, *, delimiter: str = "", marker: str = "", keys_max: int = PAGE_KEYS
) -> Mapping[str, str]:
    """Return the query that asks OBS for one page of the names after `marker`."""
    asked = {"prefix": prefix, "delimiter": delimiter, "marker": marker}
    fixed = {"encoding-type": "url", "max-keys": str(keys_max)}
    return fixed | {name: value for name, value in asked.items() if value}


def oss_page(body: bytes) -> Page:
    """Read a page of OSS. Raises `Damaged` if it is none."""
    fields, contents, prefixes = _parts(body)
    token = unquote(fields.get("NextContinuationToken", "")) if _is_truncated(fields) else ""
    if _is_truncated(fields) and not token:
        raise Damaged("the listing goes on, but does not say where")
    return Page(contents, prefixes, token)


def is_plus_a_blank(body: bytes) -> bool | None:
    """Whether a `+` in the encoded names of a page stands for a blank; None where the page leaves it open.

    Who writes a blank as %20 means a plus by `+`; who writes a plus as %2B means a blank.
    """
    if b"%20" in body:
        return False
    return True if b"%2B" in body.upper() else None


def obs_page(body: bytes, *, plus_is_blank: bool = False) -> Page:
    """Read a page of OBS. Raises `Damaged` if it is none.

    NextMarker comes only where a delimiter was asked for: else the next page begins after the last name.
    """
    decode = unquote_plus if plus_is_blank else unquote
    fields, contents, prefixes = _parts(body, decode)
    if not _is_truncated(fields):
        return Page(contents, prefixes)
    last = max([*(each.key for each in contents), *prefixes], key=str.encode, default="")
    token = decode(fields.get("NextMarker", "")) or last
    if not token:
        raise Damaged("the listing goes on, but does not say where")
    return Page(contents, prefixes, token)


def _parts(
    body: bytes, decode: Callable[[str], str] = unquote
) -> tuple[dict[str, str], tuple[Listed, ...], tuple[str, ...]]:
    try:
        root = ET.fromstring(body)
    except (ET.ParseError, ValueError, LookupError) as error:
        raise Damaged(f"not readable as XML ({error})") from error
    if _name(root) != "ListBucketResult":
        raise Damaged(f"expected <ListBucketResult>, found <{_name(root)}>")
    parts: dict[str, list[dict[str, str]]] = {}
    for child in root:
        parts.setdefault(_name(child), []).append(_fields(child))
    return (
        _fields(root),
        tuple(_listed(each, decode) for each in parts.get("Contents", ())),
        tuple(decode(each.get("Prefix", "")) for each in parts.get("CommonPrefixes", ())),
    )


def _is_truncated(fields: Mapping[str, str]) -> bool:
    return fields.get("IsTruncated", "false").lower() == "true"


def _listed(fields: dict[str, str], decode: Callable[[str], str]) -> Listed:
    try:
        return Listed(
            decode(fields["Key"]),
            int(fields["Size"]),
            datetime.fromisoformat(fields["LastModified"]).timestamp(),
            fields.get("ETag", "").strip('"'),
            fields.get("Type", ""),
            fields.get("StorageClass", ""),
        )
    except (KeyError, ValueError) as error:
        raise Damaged(f"an object without a usable {error}") from error


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _fields(parent: ET.Element) -> dict[str, str]:
    return {_name(child): child.text or "" for child in parent}
