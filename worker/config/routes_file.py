"""The file that RELAY_ROUTES names: which bucket, or part of one, goes by which sync task.

TOML, one table for each route; the table's name is the route's. It holds no secret: for a credential it names
a variable (`hw_ak_env`) or a file (`hw_ak_file`). All that is wrong is found at once, each with its line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from worker.config.addresses import SyncTask
from worker.config.environment import Found, Layer, find_in_file, read_text

ROUTES_MAX = 100
PREFIX_BYTES_MAX = 1023
# What belongs to no route, such as letters of events that none takes, is called so by `--route`.
UNROUTED = "unrouted"
NAME_SHAPE = "1..40 lower-case letters, digits and inner hyphens"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_VARIABLE = re.compile(r"[A-Za-z_]\w{0,255}", re.ASCII)
# A variable that may be shown: what looks otherwise may be a key that stands in the wrong place.
_SHOWN_VARIABLE = re.compile(r"[A-Z]+(?:_[A-Z0-9]+)+")
_HEADER = re.compile(r"\s*\[\s*(?P<quote>[\"']?)(?P<name>[^\]\"']+?)(?P=quote)\s*\]")
_KEY = re.compile(r"\s*[\"']?(?P<key>[\w-]+)[\"']?\s*=")

_PLAIN = {
    "bucket": "",
    "prefix": "",
    "sync_url": "SYNC_URL",
    "obs_endpoint": "OBS_ENDPOINT",
    "obs_bucket": "OBS_BUCKET",
}
_SECRETS = {
    name.lower(): name
    for name in ("HW_AK", "HW_SK", "HW_SECURITY_TOKEN", "OBS_AK", "OBS_SK", "OBS_SECURITY_TOKEN")
}
_OF_SECRETS = {f"{key}_{how}": key for key in _SECRETS for how in ("env", "file")}
KEYS = (*_PLAIN, *_OF_SECRETS)


@dataclass(slots=True)
class RouteEntry:
    """One route as the file has it. `values` and `files` are by the name of the setting that they stand for.

    `places` says for each of these names under which key, and in which line, it stands.
    """

    name: str
    line: int
    bucket: str = ""
    prefix: str = ""
    values: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    places: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def has_own_key(self) -> bool:
        """Whether it names a Huawei key of its own."""
        return any(name.startswith("HW_") for name in self.places)


@dataclass(slots=True)
class RoutesFile:
    """The routes of the file, in its order, and a sentence for each problem, which repeats no secret."""

    path: Path
    entries: list[RouteEntry] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def complain(self, line: int, route: str, problem: str) -> None:
        """Note a problem of a route in a line; line 0 is none in particular."""
        where = f"{self.path}, line {line}" if line else f"{self.path}"
        self.problems.append(f"RELAY_ROUTES ({where}): {f'[{route}] ' if route else ''}{problem}")


def read_routes(path: Path, layers: Sequence[Layer]) -> RoutesFile:
    """Read the file; `layers` is where the variables are that it names. Never raises."""
    found = RoutesFile(path)
    try:
        text = read_text(path)
        tables = tomllib.loads(text)
    except FileNotFoundError:
        found.complain(0, "", "the file is missing; accepted: a readable file")
    except tomllib.TOMLDecodeError as error:
        found.complain(0, "", f"is no TOML: {error}")
    except ValueError as error:
        found.complain(0, "", f"can't be read, {error}; accepted: a readable file")
    else:
        _fill(found, tables, _Lines(text), layers)
    return found


def _fill(
    found: RoutesFile, tables: Mapping[str, Any], lines: _Lines, layers: Sequence[Layer]
) -> None:
    if not tables:
        found.complain(0, "", "names no route; accepted: a table for each, such as [films]")
    if len(tables) > ROUTES_MAX:
        found.complain(0, "", f"names {len(tables)} routes; accepted: at most {ROUTES_MAX}")
    for name, table in tables.items():
        line = lines.of(name)
        if not isinstance(table, dict):
            found.complain(
                lines.of("", name), "", f"{name!r} stands outside of a route; accepted: [route]"
            )
            continue
        if not _NAME.fullmatch(name) or name == UNROUTED:
            found.complain(
                line, name, f"can't be the name of a route; accepted: {NAME_SHAPE}, not {UNROUTED}"
            )
        found.entries.append(_entry(found, name, table, lines, layers))
    _compare(found)


def _entry(
    found: RoutesFile, name: str, table: Mapping[str, Any], lines: _Lines, layers: Sequence[Layer]
) -> RouteEntry:
    entry = RouteEntry(name, lines.of(name))
    for key, value in table.items():
        line = lines.of(name, key)
        for problem in _taken(entry, key, value, line, layers):
            found.complain(line, name, f"{key} {problem}")
    for key in ("bucket", "sync_url"):
        if key not in table:
            found.complain(entry.line, name, f"{key} is not set")
    return entry


def _taken(
    entry: RouteEntry, key: str, value: Any, line: int, layers: Sequence[Layer]
) -> Iterator[str]:
    """Take one key into the entry; yield what is wrong with it."""
    if key in _SECRETS:
        yield f"holds a credential; accepted: {key}_env or {key}_file, which say where it stands"
    elif key not in KEYS:
        nearest = get_close_matches(key, KEYS, n=1, cutoff=0)[0]
        yield f"is no key of a route; accepted: {nearest} comes nearest"
    elif not isinstance(value, str) or not (value.strip() or key == "prefix"):
        yield "is no text; accepted: text in quotes"
    elif key == "bucket":
        entry.bucket = value
        if not _BUCKET.fullmatch(value):
            yield f"({value[:80]!r}) has another form; accepted: 3..63 lower-case letters, digits, hyphens"
    elif key == "prefix":
        entry.prefix = value
        if value.startswith("/") or len(value.encode()) > PREFIX_BYTES_MAX:
            yield f"({value[:80]!r}) begins no name of an object; accepted: its first characters, no / first"
    elif key in _PLAIN:
        entry.values[_PLAIN[key]] = value.strip()
        entry.places[_PLAIN[key]] = (key, line)
    else:
        yield from _secret(entry, key, value.strip(), line, layers)


def _secret(
    entry: RouteEntry, key: str, value: str, line: int, layers: Sequence[Layer]
) -> Iterator[str]:
    """Take the credential that stands in a variable or a file."""
    setting = _SECRETS[_OF_SECRETS[key]]
    if setting in entry.places:
        other, at = entry.places[setting]
        yield f"is set, and {other} too (line {at}); accepted: one of the two"
        return
    entry.places[setting] = (key, line)
    found = find_in_file(Path(value)) if key.endswith("_file") else _variable(value, layers)
    if found.problem:
        yield found.problem
        return
    entry.values[setting] = found.value
    if found.file is not None:
        entry.files[setting] = found.file


def _variable(name: str, layers: Sequence[Layer]) -> Found:
    if not _VARIABLE.fullmatch(name):
        return Found(problem="is no name of a variable; accepted: such as FILMS_HW_AK")
    for layer in layers:
        if value := layer.values.get(name, "").strip():
            return Found(value)
    shown = f"names {name}, which" if _SHOWN_VARIABLE.fullmatch(name) else "names a variable that"
    return Found(problem=f"{shown} is not set; accepted: the name of a variable that is")


def _compare(found: RoutesFile) -> None:
    """Complain of routes that would take the same changes, or share a task: its records would be mixed."""
    takers: dict[tuple[str, str], RouteEntry] = {}
    tasks: dict[str, RouteEntry] = {}
    for entry in found.entries:
        other = takers.setdefault((entry.bucket, entry.prefix), entry)
        if entry.bucket and other is not entry:
            found.complain(
                entry.line,
                entry.name,
                f"has the bucket and prefix of [{other.name}] (line {other.line}); accepted: another prefix",
            )
        task = _task_id(entry.values.get("SYNC_URL", ""))
        other = tasks.setdefault(task, entry)
        if task and other is not entry:
            found.complain(
                entry.places["SYNC_URL"][1],
                entry.name,
                f"sync_url names the task of [{other.name}] (line {other.line}), and records would mix; "
                "accepted: a task for each route",
            )


def _task_id(sync_url: str) -> str:
    """Return the task that a request URL names: its records stand under it. Empty where it names none."""
    try:
        return SyncTask.parse(sync_url).task_id
    except ValueError:
        return ""


class _Lines:
    """In which line a table, or a key of it, stands; 0 where that cannot be told."""

    def __init__(self, text: str) -> None:
        self._lines: dict[tuple[str, str], int] = {}
        table = ""
        for number, line in enumerate(text.splitlines(), 1):
            if header := _HEADER.match(line):
                table = header["name"]
                self._lines.setdefault((table, ""), number)
            elif key := _KEY.match(line):
                self._lines.setdefault((table, key["key"]), number)

    def of(self, table: str, key: str = "") -> int:
        """Return the line of a key, or else of its table."""
        return self._lines.get((table, key)) or self._lines.get((table, ""), 0)
