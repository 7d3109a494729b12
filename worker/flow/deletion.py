"""What becomes of a deletion in the source, as the flow sees it: done, to be looked at later, or held."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from worker.events.event import ObjectEvent


class Deletion(NamedTuple):
    """With neither a wait nor `is_held` all is done. `why` says why it is not."""

    wait_seconds: int = 0
    why: str = ""
    is_held: bool = False


DONE = Deletion()


class Deletions(Protocol):
    """Carries deletions over to the destination."""

    async def carry(
        self, deletions: Sequence[tuple[ObjectEvent, str]], *, is_new: bool = True
    ) -> Deletion:
        """Carry out the deletions of one message; each is an event and the key that it names.

        `is_new` says that the message was delivered for the first time.
        """
        ...
