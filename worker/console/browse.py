"""Dead letters page by page: each page goes on where the last one ended, and none looks for ever."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, replace

from worker.clock import Clock
from worker.ledger.letter import Letter, Place, Ref
from worker.operate.letters import LetterFilter, Letters

ITEMS_MAX = 50
LOOKED_AT_MAX = 5000
LOOKING_SECONDS_MAX = 4.0


@dataclass(frozen=True, slots=True)
class Leaf:
    """One page of letters. `last` is where the next one begins, None after the last page.

    `is_cut` means that matching letters are rare: so many were `looked_at`, and the rest still waits.
    """

    letters: tuple[Letter, ...]
    looked_at: int
    last: Ref | None
    is_cut: bool = False


async def leaf(
    letters: Letters, wanted: LetterFilter, place: Place, after: Ref | None, clock: Clock
) -> Leaf:
    """Read one page: at most 50 letters, found among at most 5,000 within a few seconds."""
    found: list[Letter] = []
    looked_at, last = 0, after
    until = clock.monotonic() + LOOKING_SECONDS_MAX
    # What the listing cannot tell is looked at here, so that the place where looking ended is known.
    listed = replace(wanted, group="", key_prefix="")
    async with aclosing(letters.read(listed, place, after)) as reading:
        async for letter in reading:
            if len(found) == ITEMS_MAX:
                return Leaf(tuple(found), looked_at, last)
            if looked_at >= LOOKED_AT_MAX or clock.monotonic() > until:
                return Leaf(tuple(found), looked_at, last, is_cut=True)
            looked_at, last = looked_at + 1, letter.ref
            if wanted.holds(letter):
                found.append(letter)
    return Leaf(tuple(found), looked_at, None)


def cursor(ref: Ref | None) -> str:
    """Write a place for an address."""
    return "" if ref is None else f"{ref.cause}/{ref.day}/{ref.message_id}"


def place_of(place: Place, text: str) -> Ref | None:
    """Read what `cursor` wrote; None for anything else."""
    return Ref.parse(f"{place}/{text}.json")
