"""Moving dead letters: back to the queue, into the archive, and out of it. None is ever lost on the way.

A run moves letters only while it has the right to (`move_right`): no other run changes a letter meanwhile,
and what it sends to OSS too late is refused there. Under the right a letter is redriven in this order: its
body is sent to the queue, byte for byte, and MNS has confirmed it; the letter is written to `archived/`,
with the id of the new message; it is deleted from `dead_letter/`; failed records of its keys that this very
message left are cleared. A fault between any two steps leaves the letter where a rerun finds it:

- In both folders, and the archived copy says that it was sent: it is put away and not sent again, unless the
  other copy says that an operator has brought it back since (`brought_back`): then it is sent.
- In both folders, and the archived copy does not say so: it waits in `dead_letter/`, and any move tidies up.
- Only a process killed between the first two steps can send a body twice. Both messages then carry the same
  intent, and a relay that has recorded the one skips the other.

The message carries the intent of the operator beside its body: a letter that was accepted, brought back and
redriven again is a new wish, and the relay posts its keys although it has recorded the event before.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from worker.errors import Blame, CallFailed, Failure
from worker.errors import Outcome as CallOutcome
from worker.ledger.letter import Letter, Place, Ref
from worker.ledger.names import BRAKE, FAILED, record_name
from worker.operate.connect import Clients
from worker.operate.letters import EVERY, LetterFilter, Letters, require_ids
from worker.operate.log_bucket import side_by_side
from worker.operate.move_right import MoveRight, Stopped
from worker.outages.service import Pace
from worker.ports import BATCH, TOO_LATE

MOVES_AT_ONCE = 96
SENDS_AT_ONCE = 8
# MNS takes 64 KiB a batch; some of it is for the markup and the intents.
BATCH_BYTES_MAX = 60_000
# One call of a move may take so long before it is tried again, however long others may take.
CALL_SECONDS = 8.0
# A body leaves only while there is time to put its letter away.
SEND_SECONDS = 4.0
TURN_OVER = "another run's turn began before OSS had taken it: run again"
# So many letters in a row that fail in passing are an outage, and not their own fault.
FAILED_IN_A_ROW = 20
MOVES_WAITING_MAX = 1000


class Outcome(StrEnum):
    """What became of one letter.

    `DONE`: moved. `WOULD`: a dry run would have moved it. `ALREADY`: an earlier run had done it; it was only
    put away now. `KEPT`: nothing was done, `Move.failure` or `detail` says why.
    `SENT`: sent, but not put away; a rerun may send it again. `LEFT`: not begun: it came after the run.
    `REDRIVEN`: left in the archive, because it was redriven and nobody asked for such letters. `GONE`:
    another run has moved it meanwhile.
    """

    DONE = "done"
    WOULD = "would"
    ALREADY = "already"
    KEPT = "kept"
    SENT = "sent"
    LEFT = "left"
    REDRIVEN = "redriven"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Move:
    """One letter and what became of it; `message_id` is the new message's, where one was sent."""

    letter: Letter
    outcome: Outcome
    detail: str = ""
    message_id: str = ""
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """How far and how fast: at most `count` letters, at most `per_second`; nothing at all on a dry run."""

    count: int | None = None
    per_second: float | None = None
    is_dry_run: bool = False


NO_LIMITS = Limits()
Step = Callable[[Letter, Letter | None], Awaitable[Move]]


@dataclass(frozen=True, slots=True)
class _Found:
    """A letter as it was read in an era of the right; `has_twin` is None where nobody looked."""

    letter: Letter
    era: int
    has_twin: bool | None


class Moves:
    """Moves the letters that are wanted and yields what became of each, as soon as it is known.

    Every method ends early when `Clients.stop` is set, or after a failure for which a letter is not to blame:
    the results up to then are yielded, then `CallFailed` is raised. Letters that come while a run lasts are
    not part of it, so that it ends; that is told by OSS's clock. `by` names the operator to other runs, and
    `say` hears what a run waits for.
    """

    def __init__(
        self, clients: Clients, *, by: str = "", say: Callable[[str], None] = lambda _: None
    ) -> None:
        self._clients = clients
        self._by, self._say = by, say
        self._run = self._begun("move")

    async def redrive(
        self, wanted: LetterFilter = EVERY, limits: Limits = NO_LIMITS
    ) -> AsyncIterator[Move]:
        """Send letters back to the queue, then put them away."""
        run = self._begun("redrive")

        async def step(letter: Letter, twin: Letter | None) -> Move:
            return await run.redrive(letter, twin, is_dry_run=limits.is_dry_run)

        async for move in run.moves(wanted, Place.DEAD, limits, step):
            yield move

    async def archive(
        self, wanted: LetterFilter = EVERY, limits: Limits = NO_LIMITS, reason: str = ""
    ) -> AsyncIterator[Move]:
        """Put letters away without sending them; `reason` stays with each."""
        run = self._begun("archive")

        async def step(letter: Letter, twin: Letter | None) -> Move:
            return await run.archive(letter, twin, reason, is_dry_run=limits.is_dry_run)

        async for move in run.moves(wanted, Place.DEAD, limits, step):
            yield move

    async def unarchive(
        self, wanted: LetterFilter = EVERY, limits: Limits = NO_LIMITS, *, redriven: bool = False
    ) -> AsyncIterator[Move]:
        """Bring letters back from the archive; those that were redriven only if `redriven`, or named by id.

        A redriven one that is brought back can then be sent again.
        """
        run, are_asked_for = self._begun("unarchive"), redriven or bool(wanted.ids)

        async def step(letter: Letter, twin: Letter | None) -> Move:
            return await run.unarchive(letter, twin, are_asked_for, is_dry_run=limits.is_dry_run)

        async for move in run.moves(wanted, Place.ARCHIVED, limits, step):
            yield move

    def untold(self) -> list[Move]:
        """Return the moves that were made and not yielded: for the account of a run that was cut."""
        return self._run.untold()

    @property
    def in_hand(self) -> int:
        """How many letters were being moved when the last run was cut: each stands whole."""
        return self._run.cut

    @property
    def unknown_ids(self) -> tuple[str, ...]:
        """The ids of the last run that no letter has."""
        return self._run.unknown_ids

    def _begun(self, verb: str) -> _Run:
        self._run = _Run(self._clients, verb, self._by, self._say)
        return self._run


class _Run:
    """One run: reads letters, has the right to move, keeps many in hand, and judges what fails."""

    def __init__(self, clients: Clients, verb: str, by: str, say: Callable[[str], None]) -> None:
        self._clients = clients
        self._letters = Letters(clients)
        self._bucket = self._letters.bucket
        self._sender = _Sender(clients)
        self._right = MoveRight(clients, by=by, what=verb, say=say)
        self._told: deque[Move] = deque()
        self._news, self._taken = asyncio.Event(), asyncio.Event()
        self._in_hand: set[asyncio.Task[None]] = set()
        self._begun = self._failed = 0
        self._began_at = 0.0
        self._is_proved = self._has_lifted = False
        self._ending: Failure | None = None
        self._broken: BaseException | None = None
        self.cut = 0
        self.unknown_ids: tuple[str, ...] = ()

    def untold(self) -> list[Move]:
        """Return the moves that were made and not yielded."""
        left = list(self._told)
        self._told.clear()
        return left

    async def archive(
        self, letter: Letter, twin: Letter | None, reason: str, *, is_dry_run: bool
    ) -> Move:
        """Put a letter away; one that had been sent keeps saying so."""
        sent = letter.was_sent_as(twin)
        if is_dry_run:
            return Move(letter, Outcome.ALREADY if sent else Outcome.WOULD, message_id=sent)
        if not sent:
            await self._lift_brake(letter)
            moved = letter.moved(self._now(), reason=reason)
            await self._put(letter.ref.at(Place.ARCHIVED), moved)
        await self._delete(letter.ref)
        return Move(letter, Outcome.ALREADY if sent else Outcome.DONE, message_id=sent)

    async def unarchive(
        self, letter: Letter, twin: Letter | None, are_asked_for: bool, *, is_dry_run: bool
    ) -> Move:
        """Bring a letter back."""
        sent = letter.redriven_as
        is_back = bool(sent) and twin is not None and twin.undoes == sent
        if sent and not (are_asked_for or is_back):
            return Move(letter, Outcome.REDRIVEN, message_id=sent)
        if is_dry_run:
            return Move(letter, Outcome.ALREADY if is_back else Outcome.WOULD)
        # A copy that waits already is whole; only that it may be sent again has to stand in it.
        if twin is None or (sent and not is_back):
            await self._put(letter.ref.at(Place.DEAD), letter.restored(self._now(), sent))
        await self._delete(letter.ref)
        return Move(letter, Outcome.ALREADY if is_back else Outcome.DONE)

    async def moves(
        self, wanted: LetterFilter, place: Place, limits: Limits, step: Step
    ) -> AsyncIterator[Move]:
        """Yield moves while a task of its own makes them: nobody who takes his time holds them up."""
        require_ids(wanted.ids)
        driver = asyncio.create_task(self._drive(wanted, place, limits, step), name="move letters")
        driver.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                while self._told:
                    move = self._told.popleft()
                    self._taken.set()
                    yield move
                if driver.done():
                    break
                self._news.clear()
                await self._news.wait()
        finally:
            # A second cancellation would cut short how it ends.
            if not driver.cancelling():
                driver.cancel()
            await asyncio.wait((driver,))
        driver.result()

    async def _drive(self, wanted: LetterFilter, place: Place, limits: Limits, step: Step) -> None:
        try:
            await self._begin_all(wanted, place, limits, step)
            await self._finish()
            await self._right.give_back()
        except asyncio.CancelledError:
            # The right is not given back: what was under way may still take effect.
            self.cut = len(self._in_hand)
            for task in self._in_hand:
                task.cancel()
            raise
        except BaseException:
            await self._finish()
            await self._right.give_back()
            raise
        if self._ending is not None:
            raise CallFailed(self._ending)

    async def _begin_all(
        self, wanted: LetterFilter, place: Place, limits: Limits, step: Step
    ) -> None:
        pace = Pace(self._clients.clock, limits.per_second)
        async with aclosing(self._found(wanted, place)) as letters:
            async for found in letters:
                if self._is_over or await self._is_enough(limits.count):
                    return
                if 0.0 < self._began_at < found.letter.written_at:
                    self._tell(Move(found.letter, Outcome.LEFT, "it came after this run began"))
                    continue
                if limits.per_second and not await self._clients.may_go(pace):
                    return
                await self._room()
                if not (limits.is_dry_run or await self._may_move()):
                    return
                self._begin(found, step)
                # The first goes alone, so that a denied right is met once only.
                if not self._is_proved:
                    await self._finish()

    async def _may_move(self) -> bool:
        """Wait for the right to move; False if a stop came first."""
        try:
            await self._right.have(self._finish)
        except Stopped:
            return False
        return not self._is_over

    async def _is_enough(self, count: int | None) -> bool:
        """Whether so many letters have been moved; those that were only passed over do not count."""
        if count is not None and self._begun >= count:
            await self._finish()
        return count is not None and self._begun >= count

    @property
    def _is_over(self) -> bool:
        return self._ending is not None or self._clients.stop.is_set()

    async def _found(self, wanted: LetterFilter, place: Place) -> AsyncGenerator[_Found]:
        """Yield the letters that are wanted, each with the era of the right in which it was read."""
        other = Place.ARCHIVED if place is Place.DEAD else Place.DEAD

        async def read(ref: Ref) -> tuple[int, Letter | None]:
            return self._right.era, await self._letters.get(ref)

        async for page in self._letters.pages(wanted, place):
            self._began_at = self._began_at or page.at
            era = self._right.era
            twins = await self._letters.twins(page.refs, other)
            async with aclosing(side_by_side(page.refs, read)) as letters:
                async for read_in, letter in letters:
                    if letter is None or not wanted.holds(letter):
                        continue
                    if read_in > era:
                        # The right came, or came back, in the middle of a page.
                        era = self._right.era
                        twins = await self._letters.twins(page.refs, other)
                    is_known = twins is not None and read_in == era
                    has_twin = letter.ref.at(other).name in (twins or ()) if is_known else None
                    yield _Found(letter, read_in, has_twin)
        self.unknown_ids = self._letters.unknown_ids(wanted)

    def _begin(self, found: _Found, step: Step) -> None:
        self._begun += 1
        task = asyncio.create_task(self._one(found, step), name="move a letter")
        self._in_hand.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_hand.discard(task)
        self._taken.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._broken = self._broken or error

    async def _room(self) -> None:
        """Wait until one letter more may be in hand, and its account will be taken."""
        while len(self._in_hand) >= MOVES_AT_ONCE or len(self._told) >= MOVES_WAITING_MAX:
            self._taken.clear()
            await self._taken.wait()

    async def _finish(self) -> None:
        """Wait for what is in hand."""
        while self._in_hand:
            await asyncio.wait(tuple(self._in_hand))
        if self._broken is not None:
            raise self._broken

    async def _one(self, found: _Found, step: Step) -> None:
        """Move one letter, and tell."""
        letter = found.letter
        try:
            move = await self._moved(found, step)
        except _TooLateError:
            move = Move(letter, Outcome.KEPT, TURN_OVER)
        except CallFailed as failed:
            move = Move(letter, Outcome.KEPT, str(failed), failure=failed.failure)
        self._judge(move)
        self._tell(move)

    async def _moved(self, found: _Found, step: Step) -> Move:
        letter, has_twin = found.letter, found.has_twin
        if found.era != self._right.era:
            # Others have had the right since it was read.
            again = await self._letters.get(letter.ref)
            if again is None:
                return Move(letter, Outcome.GONE)
            letter, has_twin = again, None
        if letter.is_unreadable:
            return Move(letter, Outcome.KEPT, letter.error)
        twin = None
        if has_twin is not False:
            other = Place.ARCHIVED if letter.ref.place is Place.DEAD else Place.DEAD
            twin = await self._letters.get(letter.ref.at(other))
        if twin is not None and twin.is_unreadable:
            return Move(letter, Outcome.KEPT, f"its copy in {twin.ref.place}/ is {twin.error}")
        return await step(letter, twin)

    def _judge(self, move: Move) -> None:
        """Note what a move says of the services, and whether it counts."""
        failure = move.failure
        if move.outcome in (Outcome.GONE, Outcome.REDRIVEN):
            self._begun -= 1
        if failure is None:
            self._is_proved = self._is_proved or move.outcome is not Outcome.KEPT
            self._failed = self._failed if move.outcome is Outcome.KEPT else 0
            return
        self._failed += 1
        is_outage = failure.blame is Blame.PASSING and (
            self._failed >= FAILED_IN_A_ROW or not self._is_proved
        )
        if failure.blame in (Blame.SERVICE, Blame.CREDENTIALS) or is_outage:
            self._ending = self._ending or failure

    def _tell(self, move: Move) -> None:
        self._told.append(move)
        self._news.set()

    async def redrive(self, letter: Letter, twin: Letter | None, *, is_dry_run: bool) -> Move:
        """Send a letter and put it away, or put away what was sent."""
        if letter.body is None:
            return Move(letter, Outcome.KEPT, letter.error)
        if sent := letter.was_sent_as(twin):
            if is_dry_run:
                return Move(letter, Outcome.ALREADY, message_id=sent)
            await self._delete(letter.ref)
            return await self._cleared(letter, Outcome.ALREADY, sent)
        return Move(letter, Outcome.WOULD) if is_dry_run else await self._send(letter, letter.body)

    async def _send(self, letter: Letter, body: str) -> Move:
        await self._lift_brake(letter)
        message_id = await self._sender.send(body, letter.intent, self._may_send)
        try:
            moved = letter.moved(self._now(), message_id)
            await self._put(letter.ref.at(Place.ARCHIVED), moved)
            await self._delete(letter.ref)
        except _TooLateError:
            return Move(letter, Outcome.SENT, TURN_OVER, message_id)
        except CallFailed as failed:
            return Move(letter, Outcome.SENT, str(failed), message_id, failed.failure)
        return await self._cleared(letter, Outcome.DONE, message_id)

    async def _lift_brake(self, letter: Letter) -> None:
        """Lift the brake for a deletion that it held; once a run, for it may come on again meanwhile."""
        if self._has_lifted or not letter.is_held_by_brake:
            return
        until = self._right.until
        await self._call(lambda: self._bucket.delete_once(BRAKE, until=until))
        self._has_lifted = True

    def _may_send(self) -> bool:
        return self._right.seconds_left > SEND_SECONDS

    async def _cleared(self, letter: Letter, outcome: Outcome, message_id: str) -> Move:
        """Delete the failed records that this very message left: one of a later message tells the truth."""
        try:
            for key in letter.key_errors:
                await self._clear(key, letter.ref.message_id)
        except CallFailed as failed:
            why = f"a failed record could not be cleared: {failed}"
            return Move(letter, outcome, why, message_id, failed.failure)
        return Move(letter, outcome, message_id=message_id)

    async def _clear(self, key: str, message_id: str) -> None:
        name = record_name(self._bucket.task_id, FAILED, key).removeprefix(self._bucket.root)
        stored = await self._bucket.get(name)
        if stored is not None and _message_id(stored.body) == message_id:
            await self._bucket.delete(name)

    async def _put(self, ref: Ref, body: bytes) -> None:
        until = self._right.until
        await self._call(lambda: self._bucket.put_once(ref.name, body, until=until))

    async def _delete(self, ref: Ref) -> None:
        until = self._right.until
        await self._call(lambda: self._bucket.delete_once(ref.name, until=until))

    async def _call(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Make a call under the right. It is repeated after a stop too: what is in hand is finished."""

        async def once() -> None:
            try:
                async with asyncio.timeout(CALL_SECONDS):
                    await attempt()
            except TimeoutError as error:
                self._right.doubted()
                raise CallFailed(_timed_out()) from error
            except CallFailed as failed:
                if failed.failure.code == TOO_LATE:
                    raise _TooLateError from failed
                if failed.failure.outcome is CallOutcome.UNKNOWN:
                    self._right.doubted()
                raise

        await self._clients.retry.call(once, may_retry=lambda: self._right.seconds_left > 0)

    def _now(self) -> float:
        return self._clients.clock.wall()


class _TooLateError(Exception):
    """The right to move has ended before a call could take effect."""


@dataclass(slots=True, eq=False)
class _Entry:
    """One body on its way to the queue; `may_go` is asked when it leaves."""

    body: str
    intent: str
    may_go: Callable[[], bool]
    sent: asyncio.Future[str]


class _Sender:
    """Sends bodies in batches: what waits while others are under way leaves together."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._waiting: deque[_Entry] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        # Tasks that will look once more for what waits: one that is about to end is none of them.
        self._busy = 0

    async def send(self, body: str, intent: str, may_go: Callable[[], bool]) -> str:
        """Return the id of the message once MNS has stored it. Raises `CallFailed`, `_TooLateError`."""
        entry = _Entry(body, intent, may_go, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        # One that is under way takes along what waits by then; more leave at once only for full batches.
        if not self._busy or (len(self._waiting) >= BATCH and self._busy < SENDS_AT_ONCE):
            self._busy += 1
            task = asyncio.create_task(self._send_waiting(), name="send bodies")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await entry.sent

    async def _send_waiting(self) -> None:
        try:
            # Others that are ready to send at this very moment go along.
            await asyncio.sleep(0)
            while self._waiting:
                await self._send(self._batch())
        finally:
            self._busy -= 1

    def _batch(self) -> list[_Entry]:
        batch: list[_Entry] = []
        size = 0
        while self._waiting and len(batch) < BATCH:
            entry = self._waiting[0]
            # Escaped for XML a character may take six; a lone half of a pair cannot be sent at all.
            size += len(entry.body.encode("utf-8", "surrogatepass")) + len(entry.intent)
            if batch and size > BATCH_BYTES_MAX:
                break
            self._waiting.popleft()
            if entry.sent.done():
                continue
            if entry.may_go():
                batch.append(entry)
            else:
                entry.sent.set_exception(_TooLateError())
        return batch

    async def _send(self, batch: Sequence[_Entry]) -> None:
        left = list(batch)

        async def attempt() -> None:
            failures = await self._attempt(left)
            left[:] = [entry for entry in left if not entry.sent.done()]
            if failures and left:
                raise CallFailed(failures[0])

        try:
            await self._clients.patiently(attempt)
        except CallFailed as failed:
            if failed.failure.blame is Blame.ITEM and len(left) > 1:
                # One of them is bad: each by itself tells which.
                for entry in left:
                    await self._send((entry,))
                return
            _fail(left, failed)
        except Exception as error:
            # A fault of our own: whoever waits has to hear of it.
            _fail(left, error)
            raise

    async def _attempt(self, left: Sequence[_Entry]) -> list[Failure]:
        """Send once; return why some should be sent again."""
        if not left:
            return []
        queue, again = self._clients.queue, []
        results: list[str | Failure]
        if len(left) == 1:
            results = [await queue.send(left[0].body, left[0].intent)]
        else:
            results = await queue.send_batch([(each.body, each.intent) for each in left])
        for entry, result in zip(left, results, strict=True):
            if entry.sent.done():
                continue
            if isinstance(result, str):
                entry.sent.set_result(result)
            elif result.blame is Blame.PASSING:
                again.append(result)
            else:
                entry.sent.set_exception(CallFailed(result))
        return again


def _fail(entries: Sequence[_Entry], error: Exception) -> None:
    for entry in entries:
        if not entry.sent.done():
            entry.sent.set_exception(error)


def _timed_out() -> Failure:
    return Failure("oss", "call", CallOutcome.UNKNOWN, Blame.PASSING, message="timed out")


def _message_id(record: bytes) -> str:
    try:
        return str(json.loads(record).get("message_id", ""))
    except (ValueError, AttributeError):
        return ""
