"""The right to move letters: of all operators and consoles of a task, one run moves at a time.

A move writes a letter to one folder and deletes it from the other. Two runs that do that to the same letter
in opposite directions can delete it twice, and a run that was thought dead can delete it long afterwards.
So:

- The time of OSS's own clock is cut into slots of 30 seconds. Who wants to move letters writes the right to a
  slot into the log bucket: `moving/<slot>-<turn>.json`, which only one can write (`x-oss-forbid-overwrite`).
- Every write and every delete of a move is signed so that OSS itself refuses it after the end of the last
  slot that its run holds (`OssClient.put`, `until`). A run that was frozen, cut off or killed can therefore
  change nothing later, and nobody has to find out whether it still lives: its slot ends by itself.
- A run that goes on takes the next slot shortly before its own ends. One that waits takes it as soon as it
  comes, so two runs take turns and neither starves. A run that ends says so in its right (`is_done`): then
  the next turn of the same slot is free at once. It says nothing if one of its calls was never answered:
  that call may still be on its way, and the slot has to end first.
- What was read of a letter holds as long as the run has held the right without a break (`era`); what was read
  before that is read again.

Names hold a time and are never used twice, so no clock but OSS's counts, and old rights can be deleted by
anybody. The log bucket must not keep versions: OSS would then let everybody write a right.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from worker.errors import CallFailed, Outcome
from worker.ledger.names import MOVING, turn_name
from worker.operate.connect import Clients
from worker.operate.log_bucket import LogBucket
from worker.ports import NAME_TAKEN, TOO_LATE

SLOT_SECONDS = 30
# A letter is begun only if so much of the right is left: time enough to be tried again a few times.
BEGIN_SECONDS = 10.0
# The next slot is asked for when so much of this one is left.
EXTEND_SECONDS = 15.0
LOOK_SECONDS = 1.0
# The slot of now and the one after it: more would keep others waiting.
HELD_MAX = 2
OLD_SLOTS = 20
TIDIED_MAX = 50

_NAME = re.compile(rf"{MOVING}/(\d{{10}})-(\d{{3}})\.json")


@dataclass(frozen=True, slots=True)
class _Turn:
    slot: int
    number: int

    @property
    def name(self) -> str:
        return turn_name(self.slot, self.number)

    @property
    def ends_at(self) -> float:
        return float((self.slot + 1) * SLOT_SECONDS)


class Stopped(Exception):  # noqa: N818  the name says what it is
    """A stop came while the right was waited for."""


class MoveRight:
    """The right of one run; `by` and `what` tell others who has it. `say` hears who is waited for."""

    def __init__(
        self, clients: Clients, *, by: str = "", what: str = "", say: Callable[[str], None]
    ) -> None:
        self._clients = clients
        self._clock = clients.clock
        self._bucket = LogBucket(clients)
        self._told = {"owner": secrets.token_hex(8), "by": by, "what": what}
        self._say = say
        self._held: list[_Turn] = []
        self._asked: set[int] = set()
        self._is_doubtful = False
        # OSS's time, and this machine's before that was asked for.
        self._anchor = (0.0, 0.0)
        self.era = 0

    @property
    def until(self) -> float:
        """When it ends, by OSS's clock: what is written under it must not come later."""
        return self._held[-1].ends_at if self._held else 0.0

    @property
    def seconds_left(self) -> float:
        """How much of it is left, at least."""
        at, before = self._anchor
        # A Date header tells whole seconds.
        return self.until - (at + 1.0 + self._clock.monotonic() - before)

    def doubted(self) -> None:
        """Hear that a call was never answered: it may take effect until the right ends."""
        self._is_doubtful = True

    async def have(self, finish: Callable[[], Awaitable[None]]) -> None:
        """Return when there is time enough to begin a letter; what was begun is finished before a new era.

        Raises `Stopped`, or `CallFailed` if the log bucket cannot be used.
        """
        if self._held and self.seconds_left < EXTEND_SECONDS:
            self._drop_past()
            await self._extend()
        while self.seconds_left < BEGIN_SECONDS:
            await finish()
            await self.give_back()
            await self._take()
            self.era += 1

    async def give_back(self) -> None:
        """Let others move at once, if nothing of this run can come any more."""
        held, self._held, is_doubtful = self._held, [], self._is_doubtful
        self._asked.clear()
        self._is_doubtful = False
        if is_doubtful:
            return
        body = self._body(is_done=True)
        for turn in held:
            try:
                await self._bucket.put_once(turn.name, body, until=turn.ends_at)
            except CallFailed:
                # It ends by itself.
                return

    def _drop_past(self) -> None:
        """Forget the slots before the last one, once that has begun: so little is left of it."""
        self._held = self._held[-1:]

    async def _extend(self) -> None:
        """Take the slot after the last one, unless somebody has it. It is asked for once."""
        slot = self._held[-1].slot + 1
        if len(self._held) >= HELD_MAX or slot in self._asked:
            return
        self._asked.add(slot)
        _, _, taken = await self._look()
        turn, _ = await self._free(slot, taken)
        if turn is not None and await self._claims(turn):
            self._held.append(turn)

    async def _take(self) -> None:
        """Wait for a turn and take it."""
        is_told = False
        while True:
            slot, seconds_left, taken = await self._look()
            if self._held and self._held[0].slot <= slot:
                return
            turn, holder = await self._free(slot, taken)
            following, _ = (None, "") if self._held else await self._free(slot + 1, taken)
            is_long = seconds_left > BEGIN_SECONDS + 1.0 or bool(self._held) or bool(following)
            if turn is not None and seconds_left > 0 and is_long:
                if await self._claims(turn):
                    # The next slot may be ours already.
                    self._held = [turn, *self._held]
                    if self.seconds_left < EXTEND_SECONDS:
                        await self._extend()
                    return
                continue
            if following is not None and await self._claims(following):
                self._held = [following]
            if holder and not is_told:
                is_told = True
                self._say(f"{holder} moves letters now: waiting for a turn, half a minute at most.")
            await self._pause()

    async def _free(self, slot: int, taken: Iterable[_Turn]) -> tuple[_Turn | None, str]:
        """Return the turn of a slot that may be claimed; None if somebody has the slot, and who."""
        last = max((each.number for each in taken if each.slot == slot), default=0)
        holder = await self._holder(_Turn(slot, last)) if last else ""
        return (None, holder) if holder else (_Turn(slot, last + 1), "")

    async def _pause(self) -> None:
        if self._clients.stop.is_set():
            await self.give_back()
            raise Stopped
        await self._clock.sleep(LOOK_SECONDS)

    async def _look(self) -> tuple[int, float, list[_Turn]]:
        """Return the slot of now, how much of it is left at least, and the turns of it and the next."""
        before = self._clock.monotonic()
        at = 0.0
        turns: list[_Turn] = []
        old: list[_Turn] = []
        async for page in self._bucket.pages(f"{MOVING}/"):
            at = at or page.at or self._clock.wall()
            for each in page.objects:
                match = _NAME.fullmatch(each.key)
                if match is None:
                    continue
                turn = _Turn(int(match[1]), int(match[2]))
                is_old = turn.slot < at // SLOT_SECONDS - OLD_SLOTS
                (old if is_old else turns).append(turn)
        self._anchor = (at, before)
        await self._tidy(old[:TIDIED_MAX])
        slot = int(at // SLOT_SECONDS)
        ends_at = float((slot + 1) * SLOT_SECONDS)
        return slot, ends_at - (at + 1.0 + self._clock.monotonic() - before), turns

    async def _tidy(self, old: Iterable[_Turn]) -> None:
        for turn in old:
            try:
                await self._bucket.delete_once(turn.name)
            except CallFailed:
                return

    async def _holder(self, turn: _Turn) -> str:
        """Say who holds a turn; empty if it was given back."""
        stored = await self._bucket.get(turn.name)
        if stored is None:
            return ""
        try:
            told = json.loads(stored.body)
            if told["is_done"]:
                return ""
            return f"{told['what']} by {told['by']}" if told["by"] else "Another run"
        except (ValueError, LookupError, TypeError):
            # Damaged: nobody can say that it is free.
            return "Another run"

    async def _claims(self, turn: _Turn) -> bool:
        """Whether this run gets the turn. Raises `CallFailed` if that cannot be found out."""
        body = self._body(is_done=False)
        is_lost = False

        async def attempt() -> bool:
            nonlocal is_lost
            try:
                await self._bucket.put_once(turn.name, body, may_replace=False, until=turn.ends_at)
            except CallFailed as failed:
                if failed.failure.code == TOO_LATE:
                    return False
                if failed.failure.code == NAME_TAKEN:
                    # A lost answer may hide a right that was got.
                    return is_lost and await self._is_ours(turn)
                is_lost = True
                raise
            return True

        return await self._clients.patiently(attempt)

    async def _is_ours(self, turn: _Turn) -> bool:
        stored = await self._bucket.get(turn.name)
        return stored is not None and self._told["owner"].encode() in stored.body

    def _body(self, *, is_done: bool) -> bytes:
        return json.dumps(self._told | {"is_done": is_done}, indent=1).encode()


def is_unanswered(failed: CallFailed) -> bool:
    """Whether a call may still take effect."""
    return failed.failure.outcome is Outcome.UNKNOWN
