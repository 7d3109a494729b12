"""Which letters a page is about, as it stands in the address: read, checked, and written back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from worker.ledger.letter import Place
from worker.operate.letters import LetterFilter
from worker.operate.parse_time import parse_time

TEXT_CHARS_MAX = 1023
IDS_MAX = 100


class BadFilter(ValueError):  # noqa: N818  the name says what it is
    """A condition cannot be read; `field` is its name in the address."""

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


@dataclass(frozen=True, slots=True)
class Filter:
    """Conditions as typed; empty ones do not count."""

    place: Place = Place.DEAD
    cause: str = ""
    group: str = ""
    key: str = ""
    since: str = ""
    until: str = ""

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Filter:
        """Read an address or a form; what is too long for a condition is cut."""
        texts = {
            each.name: query.get(each.name, "")[:TEXT_CHARS_MAX]
            for each in fields(cls)
            if each.name != "place"
        }
        # A key may begin or end with blanks; nothing else may.
        stripped = {name: text if name == "key" else text.strip() for name, text in texts.items()}
        is_archived = query.get("place") == Place.ARCHIVED
        return cls(place=Place.ARCHIVED if is_archived else Place.DEAD, **stripped)

    def wanted(self, now: float, ids: tuple[str, ...] = ()) -> LetterFilter:
        """Return the same conditions with times fixed. Raises `BadFilter`."""
        times: dict[str, float | None] = {}
        for name in ("since", "until"):
            text = getattr(self, name)
            try:
                times[name] = parse_time(text, now) if text else None
            except ValueError as error:
                raise BadFilter(name) from error
        return LetterFilter(self.cause, self.group, self.key, times["since"], times["until"], ids)

    @property
    def is_empty(self) -> bool:
        """Whether every letter of the place meets it."""
        return self == Filter(self.place)

    def conditions(self) -> list[tuple[str, str]]:
        """Return each condition that counts, by its name."""
        named = ((each.name, getattr(self, each.name)) for each in fields(self))
        return [(name, text) for name, text in named if text and name != "place"]

    def query(self, **changes: str) -> str:
        """Return the address's query for these conditions with some of them changed."""
        other = {name: text for name, text in changes.items() if name not in _NAMES}
        filter_ = replace(self, **{n: t for n, t in changes.items() if n in _NAMES})  # type: ignore[arg-type]
        parts = [*filter_.conditions(), *((name, text) for name, text in other.items() if text)]
        if filter_.place is Place.ARCHIVED:
            parts.insert(0, ("place", str(Place.ARCHIVED)))
        return urlencode(parts)


_NAMES = frozenset(each.name for each in fields(Filter))
