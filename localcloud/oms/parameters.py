"""Bodies and queries of the OMS calls, checked the way the service checks them.

Vendor facts: the parameter tables of the API pages. Each function raises `RefusedError` for what it
can't accept; the codes it picks are assumptions, marked in `errors`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from localcloud.oms.errors import RefusedError, invalid, missing, not_json, wrong_type
from localcloud.oms.task import Consistency, Overwrite, Statistic, Status

E = TypeVar("E", bound=StrEnum)

KEY_CHARACTERS_MAX = 16_384
CREDENTIALS = ("src_ak", "src_sk", "dst_ak", "dst_sk")

_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MILLISECONDS = re.compile(r"[0-9]{13}")
_NUMBER = re.compile(r"[0-9]{1,5}")
_NOT_IN_DESCRIPTION = re.compile(r"[<>()\"'&]")


@dataclass(frozen=True, slots=True)
class KeyRules:
    """How `object_keys` is read.

    `plus_is_space` decodes `+` as Java's URLDecoder does; the vendor does not say which holds.
    `reject` are shell patterns of decoded keys that are refused for good.
    """

    keys_max: int
    plus_is_space: bool
    reject: tuple[str, ...]


def object_keys(body: bytes, rules: KeyRules) -> list[str]:
    """Return the decoded keys of a CreateSyncEvents body. One bad key refuses the whole call."""
    given = json_object(body).get("object_keys")
    if given is None:
        raise missing("object_keys")
    if not isinstance(given, list):
        raise wrong_type("object_keys")
    # Assumption: no partial success. The page says both "maximum 10" and "1 - 100".
    if not 1 <= len(given) <= rules.keys_max:
        raise invalid("object_keys")
    keys = [_decoded(key, plus_is_space=rules.plus_is_space) for key in given]
    if rules.reject and any(_matches(key, rules.reject) for key in keys):
        raise invalid("object_keys")
    return keys


def json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body holds."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise not_json() from error
    if not isinstance(parsed, dict):
        raise wrong_type("body")
    return parsed


def milliseconds(query: Mapping[str, str], name: str) -> float:
    """Return a mandatory 13-digit time, in seconds."""
    if name not in query:
        raise missing(name)
    if _MILLISECONDS.fullmatch(query[name]) is None:
        raise invalid(name)
    return int(query[name]) / 1000


def number(query: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    """Return an optional whole number within a range."""
    text = query.get(name, str(default))
    if _NUMBER.fullmatch(text) is None or int(text) not in allowed:
        raise invalid(name)
    return int(text)


def status(query: Mapping[str, str]) -> Status | None:
    """Return the optional status filter of ListSyncTasks."""
    if "status" not in query:
        return None
    if query["status"] not in Status.__members__:
        raise invalid("status")
    return Status(query["status"])


def statistics(query: Mapping[str, str]) -> list[Statistic]:
    """Return the mandatory comma list of series."""
    if "data_type" not in query:
        raise missing("data_type")
    names = query["data_type"].split(",")
    if not set(names) <= set(Statistic.__members__):
        raise invalid("data_type")
    return [Statistic(name) for name in names]


def texts(body: Mapping[str, Any], names: Iterable[str]) -> dict[str, str]:
    """Return mandatory, non-empty strings of a body."""
    found: dict[str, str] = {}
    for name in names:
        if name not in body:
            raise missing(name)
        if not isinstance(body[name], str):
            raise wrong_type(name)
        if not body[name]:
            raise invalid(name)
        found[name] = body[name]
    return found


def _optional(body: Mapping[str, Any], names: Iterable[str], kind: type) -> dict[str, Any]:
    """Return those optional values of a body that are there and not null."""
    found = {name: body[name] for name in names if body.get(name) is not None}
    for name, value in found.items():
        if not isinstance(value, kind):
            raise wrong_type(name)
    return found


def new_task(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a task that a CreateSyncTask body asks for."""
    regions = ("src_region", "src_bucket", "dst_region", "dst_bucket")
    given = texts(body, regions + CREDENTIALS)
    words = ("src_cloud_type", "description", "dst_storage_policy", "app_id")
    fields: dict[str, Any] = {name: given[name] for name in regions}
    fields |= _optional(body, words, str)
    fields |= _optional(body, ("enable_metadata_migration", "enable_restore"), bool)
    fields |= _choice(body, "consistency_check", Consistency)
    # Assumption: the page of CreateSyncTask has no such field, though every answer shows one.
    fields |= _choice(body, "object_overwrite_mode", Overwrite)
    _check_description(fields.get("description", ""))
    return fields


def _choice(body: Mapping[str, Any], name: str, choices: type[E]) -> dict[str, E]:
    """Return an optional field that takes certain words only."""
    word = _optional(body, (name,), str).get(name)
    if word is None:
        return {}
    if word not in {choice.value for choice in choices}:
        raise invalid(name)
    return {name: choices(word)}


def _check_description(text: str) -> None:
    if len(text) > 255:
        raise invalid("description")
    if _NOT_IN_DESCRIPTION.search(text):
        raise RefusedError(400, "OMS.0078", "The description contains invalid characters.")


def _decoded(key: object, *, plus_is_space: bool) -> str:
    """Percent-decode a key exactly once."""
    if not isinstance(key, str):
        raise wrong_type("object_keys")
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
        raise invalid("object_keys")
    if plus_is_space:
        key = key.replace("+", " ")
    if "%" not in key and key.isascii():
        return key
    # Assumption: a broken escape is refused, as Java's URLDecoder does, and so is broken UTF-8.
    if _BROKEN_ESCAPE.search(key):
        raise invalid("object_keys")
    try:
        return unquote_to_bytes(key).decode()
    except UnicodeError as error:
        raise invalid("object_keys") from error


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)
