"""Where settings come from: the environment, then files named by `NAME_FILE`, then `.env`."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from dotenv.parser import Binding, parse_stream

_FILE_CHARS_MAX = 65_536
_LINES_NAMED_MAX = 5
_HUAWEI = {
    "HW_AK": "HUAWEICLOUD_SDK_AK",
    "HW_SK": "HUAWEICLOUD_SDK_SK",
    "HW_SECURITY_TOKEN": "HUAWEICLOUD_SDK_SECURITY_TOKEN",
}
# The parts of one key: id, secret and token of different keys make a wrong signature, which may lock a key.
_KEYS = (
    (
        "ALIBABA_CLOUD_ACCESS_KEY_ID",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "ALIBABA_CLOUD_SECURITY_TOKEN",
    ),
    tuple(_HUAWEI),
)
# A Kubernetes Service named relay* gives every pod of its namespace variables like these.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)")


# How our names without our prefix begin: they are the vendors' words, and other programs use them as well.
_FAMILY = re.compile(r"ALIBABA_CLOUD_|HUAWEICLOUD_SDK_|(?:MNS|OSS|LOG|SYNC|HW|OBS)_")
_NEAR = 0.85


@dataclass(frozen=True, slots=True)
class Layer:
    """One place that settings come from; `label` says to people which one."""

    label: str
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """One name as found: a value and the file it came from, or the problem that hides the value.

    `place` is the label of the layer that decided, whether it had the value or named the file.
    """

    value: str = ""
    file: Path | None = None
    problem: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class DotEnv:
    """The assignments of a `.env` file, and one problem that tells the lines which are none."""

    values: Mapping[str, str]
    problem: str = ""


def read_dotenv(path: Path) -> DotEnv:
    """Read a `.env` file, without interpolation; a missing one is empty.

    Raises ValueError if it cannot be read at all. No problem repeats a line: it may hold a secret.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        return DotEnv({})
    bindings = list(parse_stream(StringIO(text)))
    values = {each.key: each.value for each in bindings if each.key and each.value is not None}
    # A comment and a blank end have neither key nor error.
    wrong = [_line(each) for each in bindings if each.error or (each.key and each.value is None)]
    return DotEnv(values, _not_assigned(path, wrong) if wrong else "")


def _line(binding: Binding) -> int:
    text = binding.original.string
    blank = text[: len(text) - len(text.lstrip())]
    return binding.original.line + len(re.findall(r"\r\n|\n|\r", blank))


def _not_assigned(path: Path, lines: Sequence[int]) -> str:
    named = ", ".join(map(str, lines[:_LINES_NAMED_MAX]))
    more = len(lines) - _LINES_NAMED_MAX
    where = f"line{'s' if len(lines) > 1 else ''} {named}" + (
        f" and {more} more" if more > 0 else ""
    )
    return (
        f"has no assignment in {where} of {path}; "
        "accepted: NAME=value, # and a comment, a blank line; a value of several lines in quotes"
    )


def find_all(names: Iterable[str], layers: Sequence[Layer]) -> dict[str, Found]:
    """Find what is set; the first layer that has a name, or its `NAME_FILE`, decides.

    Huawei credentials come under our names or under the SDK's: never the key of one pair with the
    secret of another, for five wrong signatures lock the key. For the same reason all parts of a key
    come from one layer.
    """
    found = {name: what for name in names if (what := _find(name, layers))}
    if not found.keys() & _HUAWEI.keys():
        found |= {name: what for name, alias in _HUAWEI.items() if (what := _find(alias, layers))}
    for key in _KEYS:
        found |= _torn(key, found)
    return found


def _torn(key: Sequence[str], found: Mapping[str, Found]) -> Iterator[tuple[str, Found]]:
    """Yield the parts of a key that come from another place than its first part, with that problem."""
    first, *others = [name for name in key if name in found] or [""]
    for name in others:
        what, place = found[name], found[first].place
        if what.place != place and not what.problem:
            problem = (
                f"comes from {what.place}, but {first} from {place}, and parts of different keys make a "
                "wrong signature; accepted: all parts of one key from one place"
            )
            yield name, replace(what, problem=problem)


def _find(name: str, layers: Sequence[Layer]) -> Found | None:
    for layer in layers:
        value, file = layer.values.get(name, ""), layer.values.get(f"{name}_FILE", "").strip()
        if value.strip() and file:
            problem = f"is set, and {name}_FILE too; accepted: one of the two"
            return Found(problem=problem, place=layer.label)
        if value.strip():
            return Found(value, place=layer.label)
        if file:
            return replace(find_in_file(Path(file)), place=layer.label)
    return None


def unknown(
    prefix: str, names: Collection[str], layers: Sequence[Layer]
) -> Iterator[tuple[str, str]]:
    """Yield each set name with our prefix that is no setting, and the problem with it."""
    given = {
        name: value for layer in layers for name, value in layer.values.items() if value.strip()
    }
    for name, value in sorted(given.items()):
        is_ours = not name.startswith(prefix) or name.removesuffix("_FILE") in names
        if is_ours or "://" in value or _SERVICE_LINK.search(name):
            continue
        nearest = get_close_matches(name, names, n=1, cutoff=0)[0]
        yield name, f"is no setting; accepted: {nearest} comes nearest"


def misspelt(names: Collection[str], layers: Sequence[Layer]) -> Iterator[tuple[str, str]]:
    """Yield each set name that is nearly one of ours without our prefix, and the problem with it.

    Other programs have names such as OSS_BUCKET or ALIBABA_CLOUD_ROLE_ARN: only what differs by a letter or
    two behind the same beginning is taken for a slip.
    """
    known = {*names, *_HUAWEI.values()}
    families = {_FAMILY.match(each)[0] for each in known if _FAMILY.match(each)}  # type: ignore[index]
    for name in sorted({name for layer in layers for name in layer.values if layer.values[name]}):
        bare = name.removesuffix("_FILE")
        family = next((each for each in families if bare.startswith(each)), None)
        if family is None or bare in known:
            continue
        rests = {each.removeprefix(family): each for each in known if each.startswith(family)}
        rest = bare.removeprefix(family)
        if near := get_close_matches(rest, rests, n=1, cutoff=_NEAR):
            yield name, f"is no setting; accepted: {rests[near[0]]} comes nearest"


def find_in_file(path: Path) -> Found:
    """Return what a file holds, without the newline at its end, or the problem with it."""
    try:
        value = read_text(path).rstrip("\r\n")
    except FileNotFoundError:
        return Found(problem=f"can't be read, {path} is missing; accepted: a readable file")
    except ValueError as error:
        return Found(problem=f"can't be read, {error}; accepted: a readable file")
    if not value.strip():
        return Found(problem=f"is empty in {path}; accepted: a file with the value")
    return Found(value, path)


def read_text(path: Path) -> str:
    """Return the first 65,536 characters of a file. Raises FileNotFoundError, or ValueError that says why."""
    try:
        # A pipe would be waited for, for ever, until somebody writes.
        with open(path, encoding="utf-8", opener=_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path} is no regular file")
            return file.read(_FILE_CHARS_MAX)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise ValueError(
            f"{path} may not be read by this user: run the command as the user who may (sudo -u), or "
            "let this one read it"
        ) from error
    except OSError as error:
        raise ValueError(f"{path} can't be opened ({error.strerror})") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None


def _at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
