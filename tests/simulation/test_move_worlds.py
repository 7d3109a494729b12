"""Worlds in which operators move the same letters at once: none is lost, and none is sent twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from simulation.moves import MoveWorld, OssSide, Tale
from worker.operate.move_right import MoveRight

pytestmark = pytest.mark.no_cover


def drawn(seed: int) -> Tale:
    """A world made of all that can happen."""
    rng = random.Random(f"tale {seed}")
    return Tale(
        seed,
        operators=rng.choice((2, 2, 3)),
        busy=rng.choice((0.0, 0.05, 0.3)),
        busy_deletes=rng.choice((0.0, 0.3)),
        lost=rng.choice((0.0, 0.0, 0.05)),
        late=rng.choice((0.0, 0.0, 0.05)),
        kills=rng.choice((0, 0, 3)),
        freezes=rng.choice((0, 0, 3)),
    )


@pytest.mark.parametrize("first", range(0, 30, 5))
def test_no_letter_is_lost_and_none_sent_twice(first: int) -> None:
    counts: Counter[str] = Counter()
    for seed in range(first, first + 5):
        books = MoveWorld(drawn(seed)).play()
        assert books.violations == [], (seed, drawn(seed))
        counts += books.counts
    assert min(counts[each] for each in ("redrive done", "archive done", "unarchive done")) > 5


def violations(tales: list[Tale]) -> int:
    return sum(len(MoveWorld(tale).play().violations) for tale in tales)


def test_without_a_right_letters_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same worlds show what the right to move is for."""

    async def have(self: MoveRight, finish: Callable[[], Awaitable[None]]) -> None:
        del finish
        self._anchor = (1e12, 0.0)

    monkeypatch.setattr(MoveRight, "have", have)
    monkeypatch.setattr(MoveRight, "until", property(lambda _: 1e13))
    assert violations([Tale(seed, busy_deletes=0.3) for seed in range(10)])


def test_without_the_judgement_of_oss_letters_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that come late, from operators that were frozen, have to be refused by OSS itself."""
    monkeypatch.setattr(OssSide, "_require_in_time", lambda *_: None)
    tales = [Tale(seed, operators=3, busy=0.1, late=0.2, freezes=6) for seed in range(20)]
    assert violations(tales)
