"""The raw target of a call, decoded. Bytes that are not UTF-8 stay as lone surrogates."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes


def decoded(text: str) -> str:
    """Return a piece of a target without its percent signs."""
    if "%" not in text:
        return text
    return unquote_to_bytes(text).decode("utf-8", "surrogateescape")


def decoded_query(text: str) -> dict[str, str]:
    """Return the query, decoded; a bare name has the empty value.

    Assumption: `+` is a space. oss2 sends spaces so (as HTML forms do) and signs them as `%20`.
    """
    pairs = (part.partition("=") for part in text.replace("+", "%20").split("&") if part)
    return {decoded(name): decoded(value) for name, _, value in pairs}
