"""One session of play from start to end: `run` is the story, the other functions are its sentences."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from localcloud.cloud import LocalCloud, Prepared
from localcloud.demo.relay import Program, RelayProcess, free_port
from localcloud.demo.screen import Screen
from localcloud.demo.trouble import UNDECODABLE
from localcloud.demo.workload import NAMES, REFUSED, SIZE_BYTES_MAX
from localcloud.mns import Attributes
from localcloud.play.buttons import CLEAR, Panel, buttons_of
from localcloud.play.keys import keys

# So many objects are written in turn, again and again: a session may last for days.
OBJECTS = 2000
TELL_SECONDS = 5.0
VISIBILITY_SECONDS = 10
REASON_LENGTH_MAX = 100


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for; port 0 takes a free one."""

    rate: int = 5
    fault_seconds: int = 30
    console_port: int = 0
    # The console asks for it: the machine may have other users.
    token: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that takes part."""

    options: Options
    cloud: LocalCloud
    prepared: Prepared
    relay: Program
    console: Program
    panel: Panel
    screen: Screen


async def run(options: Options, screen: Screen, folder: Path) -> None:
    """Run until cancelled; the logs are in `folder`.

    Raises `RelayFailedError` if the relay or the console does not start, or ends by itself.
    """
    async with LocalCloud() as cloud:
        secret_file = folder / "hw_sk"
        prepared = set_up(cloud)
        settings = _settings(cloud, secret_file)
        later = asyncio.get_running_loop().call_later
        panel = Panel(buttons_of(cloud, secret_file), options.fault_seconds, later)
        screen.say("Starting the relay and its console.")
        async with RelayProcess(settings, folder) as relay:
            port = options.console_port or free_port()
            token = {"RELAY_CONSOLE_TOKEN": options.token}
            async with _console(port, relay, settings | token, folder) as console:
                stage = Stage(options, cloud, prepared, relay, console, panel, screen)
                for line in _welcome(stage, folder):
                    screen.say(line)
                with keys(lambda key: _press(stage, key)):
                    await _go_on(stage)


def set_up(cloud: LocalCloud) -> Prepared:
    """Make queues, buckets, event rule and sync task, and what ends as two kinds of dead letters."""
    prepared = cloud.prepare(
        dead_letter_queue="oss-events-dead",
        attributes=Attributes(visibility_timeout=VISIBILITY_SECONDS),
    )
    cloud.oms.reject = REFUSED
    for key in REFUSED:
        cloud.oss.put(prepared.source_bucket, key, b"refused")
    cloud.mns.publish(prepared.queue, UNDECODABLE)
    return prepared


def _settings(cloud: LocalCloud, secret_file: Path) -> dict[str, str]:
    """Return the relay's settings. The Huawei secret is in a file, so that it can be replaced."""
    settings = cloud.settings()
    secret_file.write_text(settings.pop("HW_SK"))
    return {**settings, "HW_SK_FILE": str(secret_file)}


def _console(port: int, relay: Program, settings: dict[str, str], folder: Path) -> Program:
    words = ("console", "--port", str(port), "--worker", relay.url)
    return Program(*words, name="console", port=port, path="/", settings=settings, folder=folder)


def _welcome(stage: Stage, folder: Path) -> Iterator[str]:
    admin = stage.cloud.admin.url
    yield ""
    yield f"  console      {stage.console.url}/open?token={stage.options.token}"
    yield f"  relay        {stage.relay.url}/readyz, /metrics"
    yield f"  local cloud  {admin}/state, /faults"
    yield f"  logs         {folder}"
    yield ""
    yield f"Press a key; a fault lasts {stage.panel.seconds:.0f} s:"
    for button in stage.panel.buttons.values():
        yield f"  {button.key}  {button.name}"
    yield f"  {CLEAR}  end these faults"
    yield "Or type into another terminal, for this fault and others:"
    # Short, because a terminal would break it where it ends.
    yield f"""  curl {admin}/faults -d '{{"service":"mns","status":503}}'"""
    yield f"  curl -X DELETE {admin}/faults"
    yield "Ctrl-C ends it all."
    yield ""


def _press(stage: Stage, key: str) -> None:
    if told := stage.panel.press(key):
        stage.screen.say(f"> {told}", "bold yellow")


async def _go_on(stage: Stage) -> None:
    """Write objects, and say every few seconds how things stand, for ever."""
    rng = random.Random(1)  # noqa: S311  repeatable on purpose, keeps no secret
    loop = asyncio.get_running_loop()
    tell_at = loop.time()
    for number in itertools.cycle(range(OBJECTS)):
        key = NAMES[number % len(NAMES)].format(n=number)
        data = rng.randbytes(rng.randint(1, SIZE_BYTES_MAX))
        stage.cloud.oss.put(stage.prepared.source_bucket, key, data)
        if loop.time() >= tell_at:
            tell_at = loop.time() + TELL_SECONDS
            stage.relay.check()
            stage.console.check()
            stage.screen.say(_line(stage, await _health(stage.relay)))
        await asyncio.sleep(1 / stage.options.rate)


async def _health(relay: Program) -> str:
    status, text = await relay.get("/readyz")
    if status != 503:
        return "ready" if status == 200 else "does not answer"
    reasons = "; ".join(json.loads(text)["reasons"])
    is_long = len(reasons) > REASON_LENGTH_MAX
    return f"not ready: {reasons[:REASON_LENGTH_MAX]}{'...' if is_long else ''}"


def _line(stage: Stage, health: str) -> str:
    waiting = len(stage.cloud.mns.queue(stage.prepared.queue))
    faults = f"  fault: {', '.join(stage.panel.on)}" if stage.panel.on else ""
    return f"events {stage.cloud.events_announced:,}  in queue {waiting:,}{faults}  relay: {health}"
