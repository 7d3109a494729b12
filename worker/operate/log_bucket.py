"""The log bucket as operators see it: what stands under `oms_source_record/<task id>/`, by relative names."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from itertools import islice
from typing import TypeVar

from worker.ledger.names import task_folder
from worker.operate.connect import Clients
from worker.ports import Listed, Page, Stored

T = TypeVar("T")
R = TypeVar("R")

# Reads in flight at once: enough to be bound by OSS's latency no more, few enough to hold in memory.
AT_ONCE = 32


class LogBucket:
    """Names are relative to the folder: that of the task, unless another is named.

    Every method raises `CallFailed` once patience has run out.
    """

    def __init__(self, clients: Clients, folder: str = "") -> None:
        self.task_id = folder or clients.settings.folder
        self.root = task_folder(self.task_id)
        self._clients = clients
        self._bucket = clients.settings.log_bucket

    async def get(self, name: str) -> Stored | None:
        """Read an object; None if it is not there."""
        return await self._clients.patiently(
            lambda: self._clients.store.get(self._bucket, self.root + name)
        )

    async def put(self, name: str, body: bytes) -> None:
        """Write a JSON object; returning means confirmed."""
        await self._clients.patiently(lambda: self.put_once(name, body))

    async def put_once(
        self, name: str, body: bytes, *, may_replace: bool = True, until: float | None = None
    ) -> None:
        """Write a JSON object in one attempt, with the conditions of `OssClient.put`."""
        store, key = self._clients.store, self.root + name
        kind = "application/json"
        await store.put(self._bucket, key, body, kind, may_replace=may_replace, until=until)

    async def delete(self, name: str) -> None:
        """Delete an object; one that is not there counts as deleted."""
        await self._clients.patiently(lambda: self.delete_once(name))

    async def delete_once(self, name: str, *, until: float | None = None) -> None:
        """Delete an object in one attempt, with the condition of `OssClient.delete`."""
        await self._clients.store.delete(self._bucket, self.root + name, until=until)

    async def pages(
        self, prefix: str, *, delimiter: str = "", start_after: str = ""
    ) -> AsyncIterator[Page]:
        """List page by page, with names relative to the task's folder."""
        listing = self._clients.store.list(
            self._bucket,
            self.root + prefix,
            delimiter=delimiter,
            start_after=self.root + start_after if start_after else "",
            attempt=self._clients.patiently,
        )
        cut = len(self.root)
        async for page in listing:
            objects = tuple(
                Listed(each.key[cut:], each.size, each.last_modified) for each in page.objects
            )
            prefixes = tuple(each[cut:] for each in page.prefixes)
            yield Page(objects, prefixes, page.next_token, page.at)

    async def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right under `prefix`, without it and without the slash."""
        return [
            name[len(prefix) : -1]
            async for page in self.pages(prefix, delimiter="/")
            for name in page.prefixes
        ]


async def side_by_side(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], at_once: int = AT_ONCE
) -> AsyncGenerator[R]:
    """Do `work` for each item, so many at once, and yield the results in order; holds no more than those.

    The next item begins when the oldest has ended. A failure is raised in its turn, after what was begun has
    ended: nothing is cut short by its neighbour.
    """
    rest = iter(items)
    tasks = deque(asyncio.ensure_future(work(item)) for item in islice(rest, at_once))
    try:
        while tasks:
            await asyncio.wait((tasks[0],))
            if tasks[0].exception() is not None:
                await asyncio.wait(tasks)
            else:
                tasks.extend(asyncio.ensure_future(work(item)) for item in islice(rest, 1))
            yield tasks.popleft().result()
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
            # One failure is raised; the others count as heard.
            _ = [task.exception() for task in tasks if not task.cancelled()]
