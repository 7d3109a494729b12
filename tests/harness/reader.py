"""Somebody who follows a document: types its commands one after the other, against a local cloud.

The commands are carried out as they stand, in a folder that looks like a checkout. What cannot be the
same here is replaced, and nothing else: see `typed`.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness import account
from harness.dockerfile import ROOT
from harness.programs import LIMIT_SECONDS, fetched
from harness.relay import free_port
from harness.until import TICK_SECONDS, until
from localcloud.cloud import LocalCloud

LINKED = ("deploy", "docs", "tests", "bench", "Makefile", "Procfile", "pyproject.toml")
# It ends with 4: nothing is wrong, and not all was looked at.
PARTLY = re.compile(r"oms-relay reconcile .*--since")
RELAY = re.compile(r"(?:-m worker|oms-relay) run\b")
CONSOLE = re.compile(r"(?:-m worker|oms-relay) console\b")
SUPERVISOR = re.compile(r"honcho start .*worker=(\d+)")
WATCH = re.compile(r"status\b.* --watch")
ASKS = re.compile(r"dead (redrive|archive|unarchive)\b(?!.*(--dry-run|--yes))")
INTO = re.compile(r"[^<] > ([\w.]+)")
GRACE_SECONDS = "5"
CONSOLE_TOKEN = "c" * 16
# Stands for the one tool that is not on every machine: an upload to object storage.
OSSUTIL = """#!/bin/sh -e
test "$1" = cp
curl -sSf -o /dev/null -T "$2" "$LOCALCLOUD_ADMIN/objects/${3#oss://}"
"""


def typed(statement: str, folder: Path, settings: Mapping[str, str], admin_port: int) -> str:
    """What is typed here for a statement: other files, ports and clouds, and no target of make is made."""
    text = re.sub(r"/etc/oms-relay/|/run/secrets/", f"{folder}/secrets/", statement)
    text = re.sub(r"(127\.0\.0\.1|10\.0\.0\.\d+):8080\b", f"127.0.0.1:{admin_port}", text)
    if "<<" in text:
        value = re.compile(rf"^({'|'.join(settings)})=.*$", re.MULTILINE)
        return value.sub(lambda found: f"{found[1]}={settings[found[1]]}", text)
    text = re.sub(r"\s+# .*$", "", re.sub(r"^make ", "make -n ", text))
    if CONSOLE.search(text):
        text = f"{text.replace('--host 0.0.0.0', '--host 127.0.0.1')} --port {free_port()}"
    return text


@dataclass(frozen=True, slots=True)
class Serving:
    """A program that goes on, where it prints, and the code with which SIGTERM ends it."""

    process: asyncio.subprocess.Process
    log: Path
    code: int


@dataclass(slots=True)
class Reader:
    """`folder` stands for the checkout, `cloud` for both clouds."""

    cloud: LocalCloud
    folder: Path
    admin_port: int = field(default_factory=free_port)
    serving: list[Serving] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """The settings of this cloud; what a document writes to .env is taken from there."""
        settings = self.cloud.settings()
        if (self.folder / ".env").exists():
            given = ("ALIBABA_CLOUD_", "OSS_REGION")
            settings = {name: settings[name] for name in settings if name.startswith(given)}
        programs = (str(self.folder / "bin"), f"{sys.prefix}/bin", os.environ["PATH"])
        return settings | {
            "PATH": os.pathsep.join(programs),
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(self.folder),
            "LOCALCLOUD_ADMIN": self.cloud.admin.url,
            "RELAY_ADMIN_PORT": str(self.admin_port),
            "RELAY_SHUTDOWN_GRACE_SECONDS": GRACE_SECONDS,
        }

    async def type(self, statement: str) -> str:
        """Carry a statement out, which must succeed; return what it prints or serves."""
        settings = self.cloud.settings(with_destination=True)
        text = typed(statement, self.folder, settings, self.admin_port)
        if self.serving:
            await until(lambda: account.waiting(self.cloud) == 0, "an empty queue", LIMIT_SECONDS)
        if RELAY.search(text):
            self.admin_port = free_port() if self.serving else self.admin_port
            return await self._serve(text, [f"http://127.0.0.1:{self.admin_port}/readyz"])
        if CONSOLE.search(text):
            root = f"http://127.0.0.1:{text.split()[-1]}/"
            await self._serve(text, [root])
            if "RELAY_CONSOLE_TOKEN_FILE" in text:
                return await _page(f"{root}open?token={CONSOLE_TOKEN}", self.serving[-1])
            await until(lambda: bool(self._links(root)), "the link of the console", LIMIT_SECONDS)
            return await _page(self._links(root)[0], self.serving[-1])
        if found := SUPERVISOR.search(text):
            ports = _neighbours(int(found[1]))
            urls = [f"http://127.0.0.1:{port}/readyz" for port in ports]
            # The supervisor says with its code that it was ended.
            return await self._serve(text, urls, 128 + signal.SIGTERM, PORT=str(ports[0]))
        if WATCH.search(text):
            return await self._watched(text)
        if f":{self.admin_port}" in text and not self.serving:
            # A document for operators takes it for granted that a relay runs.
            await self.type("oms-relay run")
        return await self._carried_out(text)

    def _links(self, root: str) -> list[str]:
        """The link that the console at this address has given, once it has."""
        files = self.folder.glob("oms-relay-console-*.url")
        given = [file.read_text() for file in files]
        return [each.strip() for each in given if each.startswith(root) and each.endswith("\n")]

    async def leave(self) -> None:
        """End what goes on, as a user would."""
        for each in self.serving:
            each.process.send_signal(signal.SIGTERM)
        for each in self.serving:
            assert await each.process.wait() == each.code, each.log.read_text()

    async def _carried_out(self, text: str) -> str:
        with _answering(is_asked=bool(ASKS.search(text))) as answers:
            process = await self._started(text, answers)
            async with asyncio.timeout(LIMIT_SECONDS):
                printed, complaints = await process.communicate()
        told = f"{text}\n{printed.decode()}\n{complaints.decode()}"
        assert process.returncode == (4 if PARTLY.search(text) else 0), told
        return "".join(map(self._written, INTO.findall(text))) or printed.decode()

    def _written(self, name: str) -> str:
        return (self.folder / name).read_text()

    async def _watched(self, text: str) -> str:
        """Watch until something is seen twice, and press Ctrl-C; return what was seen."""
        process = await self._started(f"exec {text}", asyncio.subprocess.DEVNULL)
        assert process.stdout is not None
        seen: list[bytes] = []
        async with asyncio.timeout(LIMIT_SECONDS):
            while sum(line.startswith(b"queue") for line in seen) < 2:
                seen.append(await process.stdout.readline())
                assert seen[-1], seen
            process.send_signal(signal.SIGINT)
            await process.communicate()
        assert process.returncode == 0, seen
        return b"".join(seen).decode()

    async def _started(self, text: str, answers: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", text),
            cwd=self.folder,
            env=self.environment,
            stdin=answers,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def _serve(self, text: str, urls: list[str], code: int = 0, **more: str) -> str:
        """Start what goes on; return its first page when it answers at every address."""
        log = self.folder / f"log-{len(self.serving)}"
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *("bash", "-c", f"exec env {text}"),
                cwd=self.folder,
                env=self.environment | more,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self.serving.append(Serving(process, log, code))
        async with asyncio.timeout(LIMIT_SECONDS):
            pages = [await _page(url, self.serving[-1]) for url in urls]
        return pages[0]


async def _page(url: str, serving: Serving) -> str:
    """What an address answers once it answers well."""
    while True:
        status, _, page = await asyncio.to_thread(fetched, url)
        if status == 200:
            return page.decode()
        assert serving.process.returncode is None, serving.log.read_text()
        await asyncio.sleep(TICK_SECONDS)


def _neighbours(number: int) -> list[int]:
    """Free ports, one after the other."""
    while True:
        ports = [free_port() for _ in range(number)]
        if ports[-1] - ports[0] == number - 1:
            return ports


@contextmanager
def _answering(*, is_asked: bool) -> Iterator[int]:
    """Standard input: nothing, or a terminal at which somebody says yes."""
    if not is_asked:
        yield asyncio.subprocess.DEVNULL
        return
    person, terminal = os.openpty()
    try:
        os.write(person, b"y\n")
        yield terminal
    finally:
        os.close(person)
        os.close(terminal)


@asynccontextmanager
async def reading(cloud: LocalCloud, folder: Path) -> AsyncIterator[Reader]:
    """Sit down before a checkout with both clouds at hand; nothing is left running."""
    for name in (*LINKED, *(each.name for each in ROOT.glob("constraints*.txt"))):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "bin").mkdir()
    (folder / "bin" / "ossutil").write_text(OSSUTIL)
    (folder / "bin" / "ossutil").chmod(0o755)
    (folder / "secrets").mkdir()
    settings = cloud.settings()
    key = {"ak": settings["HW_AK"], "sk": settings["HW_SK"]}
    secrets = {f"{of}_{name}": value for of in ("hw", "obs") for name, value in key.items()}
    secrets["console"] = CONSOLE_TOKEN
    for name, value in secrets.items():
        (folder / "secrets" / name).write_text(f"{value}\n")
    reader = Reader(cloud, folder)
    try:
        yield reader
        await reader.leave()
    finally:
        for each in reader.serving:
            if each.process.returncode is None:
                each.process.kill()
                await each.process.wait()
