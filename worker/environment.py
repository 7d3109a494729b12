"""Where settings come from: the environment, then files named by `NAME_FILE`, then `.env`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

_FILE_CHARS_MAX = 65_536
_HUAWEI = {
    "HW_AK": "HUAWEICLOUD_SDK_AK",
    "HW_SK": "HUAWEICLOUD_SDK_SK",
    "HW_SECURITY_TOKEN": "HUAWEICLOUD_SDK_SECURITY_TOKEN",
}
# A Kubernetes Service named relay* gives every pod of its namespace variables like these.
_SERVICE_LINK = re.compile(r"_SERVICE_(HOST|PORT)(_|$)|_PORT_\d+_(TCP|UDP|SCTP)(_|$)")


@dataclass(frozen=True, slots=True)
class Found:
    """One name as found: a value and the file it came from, or the problem that hides the value."""

    value: str = ""
    file: Path | None = None
    problem: str = ""


def read_dotenv(path: Path) -> Mapping[str, str]:
    """Read a `.env` file, without interpolation; a missing one is empty. Raises ValueError."""
    try:
        text = _read(path)
    except FileNotFoundError:
        return {}
    return {
        name: value or ""
        for name, value in dotenv_values(stream=StringIO(text), interpolate=False).items()
    }


def find_all(names: Iterable[str], layers: Sequence[Mapping[str, str]]) -> dict[str, Found]:
    """Find what is set; the first layer that has a name, or its `NAME_FILE`, decides.

    Huawei credentials come under our names or under the SDK's: never the key of one pair with the
    secret of another, for five wrong signatures lock the key.
    """
    found = {name: what for name in names if (what := _find(name, layers))}
    if found.keys() & _HUAWEI.keys():
        return found
    return found | {name: what for name, alias in _HUAWEI.items() if (what := _find(alias, layers))}


def _find(name: str, layers: Sequence[Mapping[str, str]]) -> Found | None:
    for layer in layers:
        value, file = layer.get(name, ""), layer.get(f"{name}_FILE", "").strip()
        if value.strip() and file:
            return Found(problem=f"is set, and {name}_FILE too; accepted: one of the two")
        if value.strip():
            return Found(value)
        if file:
            return _find_in_file(Path(file))
    return None


def unknown(
    prefix: str, names: Collection[str], layers: Sequence[Mapping[str, str]]
) -> Iterator[tuple[str, str]]:
    """Yield each set name with our prefix that is no setting, and the problem with it."""
    given = {name: value for layer in layers for name, value in layer.items() if value.strip()}
    for name, value in sorted(given.items()):
        is_ours = not name.startswith(prefix) or name.removesuffix("_FILE") in names
        if is_ours or "://" in value or _SERVICE_LINK.search(name):
            continue
        nearest = get_close_matches(name, names, n=1, cutoff=0)[0]
        yield name, f"is no setting; accepted: {nearest} comes nearest"


def _find_in_file(path: Path) -> Found:
    try:
        value = _read(path).rstrip("\r\n")
    except FileNotFoundError:
        return Found(problem=f"can't be read, {path} is missing; accepted: a readable file")
    except ValueError as error:
        return Found(problem=f"can't be read, {error}; accepted: a readable file")
    if not value.strip():
        return Found(problem=f"is empty in {path}; accepted: a file with the value")
    return Found(value, path)


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_FILE_CHARS_MAX)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path} can't be opened ({error.strerror})") from error
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
