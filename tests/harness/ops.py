"""What the tests of operators share: letters as the relay writes them, clients, and the command line."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from typer.testing import CliRunner, Result

from harness.account import ROOT, prepared
from harness.relay import HurriedClock
from localcloud.cloud import LocalCloud
from worker.cli import commands
from worker.clock import Clock
from worker.ledger.pulse import Pulse, PulseState, Rates
from worker.operate.connect import Clients, connect
from worker.settings import load_settings

DAY = "2026-09-22"
DIED_AT = f"{DAY}T10:00:00.000+00:00"
# Names that are hard to carry: through XML, JSON, URLs, and record names that would be too long.
ODD_KEYS = [
    "plain.txt",
    "目录/文件 名.txt",
    "emoji/😀🐈‍⬛",
    "control/\x01\x1f\x7f\r\n\t",
    "..",
    "a/../b//c/./",
    "100%25/%41+b c",
    "a" * 1023,
    "猫" * 341,
    "<&\"'>]]>",
    "ab" * 32,
]
REFUSED = (
    "oms CreateSyncEvents answered 400 OMS.0064: Invalid request parameters. (request {:032x})"
)


# What a worker that is well tells in its pulse.
READY = {
    "status": "ready",
    "reasons": [],
    "causes": [],
    "services": {"oms": "closed"},
    "in_flight": 3,
}


@asynccontextmanager
async def connected(
    cloud: LocalCloud, clock: Clock | None = None, settings: Mapping[str, str] | None = None
) -> AsyncIterator[Clients]:
    """The operators' clients for what was prepared; `settings` are names of the environment."""
    found = load_settings(cloud.settings() | dict(settings or {}), dotenv=None)
    async with connect(found, clock=clock or HurriedClock()) as clients:
        yield clients


def message_id(number: int) -> str:
    return f"{number:032X}"


def put_letter(
    cloud: LocalCloud, number: int, *, cause: str = "rejected", day: str = DAY, **fields: Any
) -> str:
    """Put one dead letter into the log bucket, as `worker.flow.bury` writes it; return its name."""
    key = f"photos/{number}.jpg"
    error = REFUSED.format(number)
    letter = {
        "cause": cause,
        "error": error,
        "keys": [{"key": key, "error": error}] if cause == "rejected" else [],
        "message_id": message_id(number),
        "attempts": 1,
        "worker": "worker-1",
        "died_at": f"{day}T10:00:00.000+00:00",
        "enqueued_at": f"{day}T09:59:00.000+00:00",
        "body": f"body {number}",
    }
    name = f"dead_letter/{cause}/{day}/{message_id(number)}.json"
    put_object(cloud, name, json.dumps(letter | fields, indent=1).encode())
    return name


def put_object(cloud: LocalCloud, name: str, body: bytes) -> None:
    """Put an object into the task's folder of the log bucket."""
    names = prepared(cloud)
    cloud.oss.put(names.log_bucket, f"{ROOT}/{names.task_id}/{name}", body)


def pulse(number: int, state: PulseState = PulseState.READY, **more: Any) -> Pulse:
    found = Pulse(
        f"host-{number}-1-abc",
        f"host-{number}",
        "1.0.0",
        state,
        120.0,
        READY,
        {"messages_received_total": 5.0, "events_decoded_total:created": 5.0},
        Rates(60.0, 2.5, 2.0, 2.0, 0.0, 0.5),
    )
    return replace(found, **more)


def put_pulse(cloud: LocalCloud, told: Pulse, age_seconds: float = 0.0) -> None:
    """Put a pulse that is so old by OSS's clock."""
    offset = cloud.oss.clock.offset_seconds
    cloud.oss.clock.offset_seconds = offset - age_seconds
    put_object(cloud, f"fleet/{told.worker}.json", told.as_bytes())
    cloud.oss.clock.offset_seconds = offset


def objects(cloud: LocalCloud) -> dict[str, bytes]:
    """Everything in the task's folder of the log bucket, by relative name."""
    names = prepared(cloud)
    bucket, root = cloud.oss.buckets[names.log_bucket], f"{ROOT}/{names.task_id}/"
    found = ((name, bucket.get(name)) for name in bucket.keys())  # noqa: SIM118  no dict
    return {
        name.removeprefix(root): stored.data for name, stored in found if stored and root in name
    }


def bodies(cloud: LocalCloud) -> list[str]:
    """The bodies in the queue, as stored, in their order."""
    queue = cloud.mns.queue(prepared(cloud).queue)
    return [message.body for message in queue.peek(10_000, cloud.mns.store.now_ms())]


def oss_event(bucket: str, *keys: str) -> str:
    """A message as OSS sends it, about created objects of a bucket."""
    events = [
        {
            "eventName": "ObjectCreated:PutObject",
            "oss": {"bucket": {"name": bucket}, "object": {"key": key}},
        }
        for key in keys
    ]
    return base64.b64encode(json.dumps({"events": events}).encode()).decode()


def calls(cloud: LocalCloud, service: str, operation: str = "") -> int:
    """How many calls of an operation, or of all that are known, reached a service."""
    counts = {"mns": cloud.mns, "oss": cloud.oss, "oms": cloud.oms, "obs": cloud.obs}[
        service
    ].counts
    unknown = {"Unknown", "UnknownOperation"}
    return sum(
        n
        for (name, _), n in counts.items()
        if name == operation or (not operation and name not in unknown)
    )


@dataclass(slots=True)
class CommandLine:
    """The commands in this process, against a cloud that serves in a thread of its own."""

    cloud: LocalCloud
    loop: asyncio.AbstractEventLoop

    def __call__(self, *arguments: str, **settings: str) -> Result:
        """Run a command with the cloud's settings; `settings` are names of the environment."""
        return CliRunner().invoke(
            commands, list(arguments), env=self.cloud.settings() | settings, catch_exceptions=False
        )

    def lines(self, *arguments: str, **settings: str) -> list[dict[str, Any]]:
        """Run a command that must succeed, and read the JSON lines it prints."""
        result = self(*arguments, "--json", **settings)
        assert result.exit_code == 0, result.output
        return [json.loads(line) for line in result.stdout.splitlines()]

    def within(self, change: Callable[[LocalCloud], Any]) -> Any:
        """Change or read the cloud in its own thread."""
        done: list[Any] = []
        is_done = threading.Event()

        def act() -> None:
            done.append(change(self.cloud))
            is_done.set()

        self.loop.call_soon_threadsafe(act)
        assert is_done.wait(10)
        return done[0]


@contextmanager
def command_line(**prepare: Any) -> Iterator[CommandLine]:
    """A prepared cloud in a thread, and the commands against it."""
    cloud = LocalCloud(seed=1)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="cloud")
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(cloud.start(), loop).result(10)
        cloud.prepare(**prepare)
        yield CommandLine(cloud, loop)
    finally:
        asyncio.run_coroutine_threadsafe(_end(cloud), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(cloud: LocalCloud) -> None:
    """Stop the cloud, and what still polls it: a loop that closes under a task leaves a warning behind."""
    await cloud.stop()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
