"""Which route takes a change: the one place that decides it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Taker(Protocol):
    """What is asked of a route."""

    @property
    def prefix(self) -> str:
        """How the keys begin that it takes."""
        ...

    def copies(self, bucket: str) -> bool:
        """Whether it copies this bucket, as far as is known."""
        ...


R = TypeVar("R", bound=Taker)


def route_of(routes: Iterable[R], bucket: str, key: str) -> R | None:
    """Return the route that takes this key of this bucket; None if none does. The longest prefix wins."""
    fitting = [each for each in routes if key.startswith(each.prefix) and each.copies(bucket)]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    return max(fitting, key=lambda each: len(each.prefix))
