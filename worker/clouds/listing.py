"""Reading listings: one page of names at a time, of OSS (ListObjectsV2) or of OBS (ListObjects).

Facts: OSS developer reference, ListObjectsV2; OBS API reference, "Listing objects in a bucket" (obs_04_0022).
Both are asked for `encoding-type=url`: then keys, common prefixes and the place to go on are URL-encoded, so
that names survive that XML cannot carry. Both list in the order of the names' UTF-8 bytes.

Comparisons read billions of entries. So a page whose entries all have one plain form is read by columns
(`_columns`), a few microseconds an entry; whatever is not of that form goes to the XML parser, which alone
decides what is a listing.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import repeat
from operator import itemgetter
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
    prefix: str,
    *,
    delimiter: str = "",
    start_after: str = "",
    token: str = "",
    keys_max: int = PAGE_KEYS,
) -> Mapping[str, str]:
    """Return the query that asks OSS for one page; `start_after` counts for the first page only."""
    asked = {
        "prefix": prefix,
        "delimiter": delimiter,
        "continuation-token": token,
        "start-after": "" if token else start_after,
    }
    fixed = {"list-type": "2", "encoding-type": "url", "max-keys": str(keys_max)}
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
    # Texts of Python are in the order of their UTF-8 bytes.
    token = decode(fields.get("NextMarker", "")) or max(
        [*map(itemgetter(0), contents), *prefixes], default=""
    )
    if not token:
        raise Damaged("the listing goes on, but does not say where")
    return Page(contents, prefixes, token)


Decode: TypeAlias = Callable[[str], str]

# The form around the entries: elements without attributes that hold text, and nothing else.
_LEAF = rb"<(?P<{0}>\w+)>[^<&]*</(?P={0})>\s*|<\w+/>\s*"
_BEFORE = re.compile(
    rb'(?:<\?xml version="1\.0"(?: encoding="(?:UTF|utf)-8")?(?: standalone="(?:yes|no)")?\?>)?\s*'
    rb'<ListBucketResult(?: xmlns="[^"<&]*")?>\s*(?:' + _LEAF.replace(b"{0}", b"name") + rb")*"
)
_AFTER = re.compile(
    rb"\s*(?:" + _LEAF.replace(b"{0}", b"name") + rb"|<CommonPrefixes>\s*(?:"
    rb"" + _LEAF.replace(b"{0}", b"inner") + rb")*</CommonPrefixes>\s*)*</ListBucketResult>\s*"
)
_OPEN, _CLOSE, _END = b"<Contents>", b"</Contents>", "</Contents>"
_FIELDS = frozenset({"Key", "Size", "LastModified", "ETag", "Type", "StorageClass"})
# In an entry, and not in a group within it.
_FIELD_DEPTH = 2
# Neither control characters, nor what is told apart by an encoding, nor references.
_PLAIN = bytes(set(range(0x20, 0x7F)) - {0x26}) + b"\t\n"


def _parts(
    body: bytes, decode: Decode = unquote
) -> tuple[dict[str, str], tuple[Listed, ...], tuple[str, ...]]:
    """Read the fields, the objects and the common prefixes of a listing. Raises `Damaged`."""
    start, end = body.find(_OPEN), body.rfind(_CLOSE) + len(_CLOSE)
    if 0 <= start < end and _BEFORE.fullmatch(body, 0, start) and _AFTER.fullmatch(body, end):
        objects = _columns(body[start:end], decode)
        if objects is not None:
            fields, others, prefixes = _parsed(body[:start] + body[end:], decode)
            if not others:
                return fields, objects, prefixes
    return _parsed(body, decode)


def _columns(region: bytes, decode: Decode) -> tuple[Listed, ...] | None:
    """Read entries that are all of the first one's form; None where the parser has to judge.

    What no entry takes up holds no tag: all that begins with a `<` is counted.
    """
    plain = region.replace(b"&quot;", b'"')
    if plain.translate(None, _PLAIN) or b"]]>" in plain:
        return None
    text = plain.decode("ascii")
    tags = _tags_of_first(text[: text.index(_END) + len(_END)].split("<")[1:])
    names, form = _form(tuple(tags)) if tags else ((), None)
    if tags is None or form is None or len(names) < 2:
        return None
    rows = form.findall(text)
    if len(rows) * len(tags) != text.count("<"):
        return None
    try:
        return _listed_all(dict(zip(names, zip(*rows, strict=True), strict=True)), decode)
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=64)
def _form(tags: tuple[str, ...]) -> tuple[tuple[str, ...], re.Pattern[str]]:
    """Return what finds an entry of these tags, and the names of the texts that it gives."""
    names, form, depth = [], "", 0
    for tag, behind in zip(tags, (*tags[1:], ""), strict=True):
        is_end = tag[0] == "/"
        depth += -1 if is_end else 1
        is_leaf = behind == f"/{tag}"
        is_wanted = is_leaf and depth == _FIELD_DEPTH and tag[:-1] in _FIELDS
        names += [tag[:-1]] if is_wanted else []
        text = r"([^<]*+)" if is_wanted else r"[^<]*+" if is_leaf else r"\s*+"
        form += f"<{tag}{text}"
    return tuple(names), re.compile(form)


def _tags_of_first(tokens: Sequence[str]) -> list[str] | None:
    """Return the tags of the first entry, each with its `>`; None if it is no flat list of texts.

    There may be groups of texts within it (Owner).
    """
    tags: list[str] = []
    opened: list[str] = []
    for token in tokens:
        name, is_tag, text = token.partition(">")
        is_end = name[:1] == "/"
        if not is_tag or not name.removeprefix("/").isalnum():
            return None
        if is_end and (not opened or opened.pop() != name[1:]):
            return None
        if not is_end:
            opened.append(name)
        # Text beside elements, and one name in two places, are for the parser to judge.
        is_nested = len(opened) > 2 + (not is_end and len(opened) == 3)
        if is_nested or f"{name}>" in tags or (is_end and text.strip()):
            return None
        tags.append(f"{name}>")
        if not opened:
            return tags
    return None


def _listed_all(found: Mapping[str, tuple[str, ...]], decode: Decode) -> tuple[Listed, ...]:
    """Return the objects of the columns. Raises KeyError and ValueError for what is no usable object."""
    keys = found["Key"]
    none = ("",) * len(keys)
    rows = zip(
        _decoded(keys, decode),
        map(int, found["Size"]),
        map(datetime.timestamp, map(datetime.fromisoformat, found["LastModified"])),
        map(str.strip, found.get("ETag", none), repeat('"')),
        found.get("Type", none),
        found.get("StorageClass", none),
        strict=True,
    )
    # As `Listed(*row)`, without a call of Python for each.
    return tuple(map(tuple.__new__, repeat(Listed), rows))


def _decoded(keys: Sequence[str], decode: Decode) -> list[str]:
    """Decode names. Nearly all that is encoded is the slash, which is told apart without the decoder."""
    joined = "\n".join(keys)
    if "+" in joined or joined.count("\n") != len(keys) - 1:
        return list(map(decode, keys))
    if "%2F" in joined:
        keys = joined.replace("%2F", "/").split("\n")
        joined = ""
    return [decode(each) if "%" in each else each for each in keys]


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _parsed(
    body: bytes, decode: Decode
) -> tuple[dict[str, str], tuple[Listed, ...], tuple[str, ...]]:
    """Read a listing by the XML parser: slower, and right whatever the form."""
    if b"<!DOCTYPE" in body:
        raise Damaged("it has a document type, as no listing does")
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
            _seconds(fields["LastModified"]),
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
