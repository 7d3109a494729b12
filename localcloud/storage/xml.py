"""XML as both services write and read it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import quote

from localcloud.service import Reply

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;"})
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")

Encode = Callable[[str], str]


def document(root: str, *children: str) -> str:
    """Return an XML document of a root element around finished children."""
    return f"{HEAD}<{root}>{''.join(children)}</{root}>"


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


def parsed(body: bytes) -> ET.Element | None:
    """Return the root of an XML body, or None for one that is malformed or has a DOCTYPE."""
    if b"<!DOCTYPE" in body:
        return None
    try:
        return ET.fromstring(body)
    except ET.ParseError:
        return None


def xml_reply(body: str) -> Reply:
    """Return a 200 with an XML body."""
    return Reply(200, body, {"Content-Type": "application/xml"})


@lru_cache(maxsize=64)
def _iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")
