"""OMS on loopback: synchronization tasks that take keys and really copy objects.

Vendor facts: the API pages of the synchronization tasks (v2). Nobody has watched the real service
refuse things: where its behaviour is not documented the choice is marked "Assumption".
"""

from __future__ import annotations

import json
import re
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import Identities
from localcloud.oms import errors, parameters
from localcloud.oms.copier import Copier, Destination, Read
from localcloud.oms.copying import Copying
from localcloud.oms.errors import RefusedError
from localcloud.oms.routes import ACTIONS, UNKNOWN, Route, route
from localcloud.oms.signature import Gateway
from localcloud.oms.task import Statistic, Status, SyncTask
from localcloud.oms.throttle import RateLimit
from localcloud.service import CALLS_KEPT, Call, Reply, Service

BODY_BYTES_MAX = 12 * 1024 * 1024
TASKS_MAX = 5

_TASK_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
_TASK_NAMESPACE = uuid.UUID("6f6d7372-656c-6179-8000-6c6f63616c6f")


@dataclass(frozen=True, slots=True)
class AcceptedPost:
    """A CreateSyncEvents call that was answered 200, with its keys decoded."""

    at: float
    task_id: str
    keys: Sequence[str]


class OmsService(Service):
    """Serves the eight synchronization-task APIs and copies the keys it accepts.

    Switches, all free to change while it runs: `keys_per_call_max` (10 as the pages' prose says,
    or 100 as their constraint says), `delay_seconds` from acceptance to copy, `plus_is_space`,
    `reject` (shell patterns of keys refused for good), `rate_limit`, `stopped_refusal` (status, code
    and message that a stopped task answers to keys), `tasks_max`, those of `gateway`, and those of
    `copying`: how the copies go, which of them fail, come late or are lost, and their lists.
    `posts` holds the newest accepted calls, `posts_accepted` counts all of them.
    """

    name = "oms"

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        identities: Identities,
        read_source: Read,
        destination: Destination,
        seed: int = 0,
    ) -> None:
        super().__init__(clock, faults)
        self.gateway = Gateway(clock, identities)
        self.copier = Copier(clock, faults, read_source, destination, seed)
        self.tasks: dict[str, SyncTask] = {}
        self.posts: deque[AcceptedPost] = deque(maxlen=CALLS_KEPT)
        self.posts_accepted = 0
        self.keys_per_call_max = 10
        self.delay_seconds = 0.05
        self.plus_is_space = False
        self.reject: tuple[str, ...] = ()
        self.rate_limit: RateLimit | None = None
        self.tasks_max = TASKS_MAX
        # Assumption: OMS.0066 "task not in progress" is in the code table; the answer is unknown.
        self.stopped_refusal = (400, "OMS.0066", "The task is not in progress.")
        self._request_numbers = count(1)
        self._task_numbers = count(1)
        self._handlers: dict[str, Callable[[Route, Call], Reply]] = {
            "CreateSyncEvents": self._create_events,
            "CreateSyncTask": self._create_task,
            "ListSyncTasks": self._list,
            "ShowSyncTask": self._show,
            "ListSyncTaskStatistic": self._statistics,
            "StartSyncTask": self._start_task,
            "StopSyncTask": self._stop_task,
            "DeleteSyncTask": self._delete,
        }

    def create_task(
        self, task_id: str, project_id: str, src_bucket: str, dst_bucket: str, **more: Any
    ) -> SyncTask:
        """Create a task outside the API; `more` are further fields of `SyncTask`."""
        task = SyncTask(
            task_id, project_id, src_bucket, dst_bucket, created_at=self.clock.now(), **more
        )
        self.tasks[task_id] = task
        return task

    @property
    def copying(self) -> Copying:
        """The switches of the copies."""
        return self.copier.copying

    @property
    def copy_seconds(self) -> float:
        """How long the copies of one call take, by the clock; what is written meanwhile is not in them."""
        return self.copier.copy_seconds

    @copy_seconds.setter
    def copy_seconds(self, seconds: float) -> None:
        self.copier.copy_seconds = seconds

    def events_url(self, task_id: str) -> str:
        """Return the URL that takes the keys of a task, as the OMS console shows it."""
        project_id = self.tasks[task_id].project_id
        return f"{self.url}/v2/{project_id}/sync-tasks/{task_id}/events"

    async def start(self, port: int = 0) -> None:
        """Listen, and copy what is accepted."""
        await super().start(port)
        self.copier.start()

    async def stop(self) -> None:
        """Close the port, then stop copying; what was accepted waits for the next `start`."""
        await super().stop()
        await self.copier.stop()

    async def drained(self) -> None:
        """Wait until every key accepted so far is copied, skipped or failed."""
        await self.copier.drained()

    def operation(self, call: Call) -> str:
        """Name the API of a call: `CreateSyncEvents`, `ShowSyncTask`, ... or `Unknown`."""
        return route(call.method, call.path).operation

    async def serve(self, call: Call) -> Reply:
        """Answer one call as the gateway and OMS behind it would."""
        request_id = f"{next(self._request_numbers):032x}"
        try:
            reply = self._answer(call)
        except RefusedError as refused:
            reply = refused.reply(request_id)
        reply.headers["X-Request-Id"] = request_id
        return reply

    def _answer(self, call: Call) -> Reply:
        target = route(call.method, call.path)
        if target.operation == UNKNOWN:
            raise errors.no_such_api()
        if len(call.body) > BODY_BYTES_MAX:
            raise errors.too_large()
        identity = self.gateway.verify(call)
        if self.rate_limit is not None:
            self.rate_limit.admit(target.operation, self.clock.now())
        if not identity.may(ACTIONS[target.operation]):
            raise errors.forbidden(ACTIONS[target.operation])
        return self._handlers[target.operation](target, call)

    def _task(self, target: Route) -> SyncTask:
        if _TASK_ID.fullmatch(target.task_id) is None:
            raise errors.malformed_task_id()
        task = self.tasks.get(target.task_id)
        if task is None or task.project_id != target.project_id:
            raise errors.no_such_task()
        return task

    def _create_events(self, target: Route, call: Call) -> Reply:
        task = self._task(target)
        rules = parameters.KeyRules(self.keys_per_call_max, self.plus_is_space, self.reject)
        keys = parameters.object_keys(call.body, rules)
        if task.status is Status.STOPPED:
            raise RefusedError(*self.stopped_refusal)
        if not self.copier.accept(task, keys, self.delay_seconds):
            raise errors.overloaded()
        now = self.clock.now()
        # Assumption: each key counts as one request.
        task.count(Statistic.REQUEST, len(keys), now)
        self.posts.append(AcceptedPost(now, task.task_id, keys))
        self.posts_accepted += 1
        return Reply(200)

    def _list(self, target: Route, call: Call) -> Reply:
        query = call.query
        wanted = parameters.status(query)
        limit = parameters.number(query, "limit", 10, range(1, 101))
        offset = parameters.number(query, "offset", 0, range(10_001))
        tasks = [
            task
            for task in self.tasks.values()
            if task.project_id == target.project_id and wanted in {None, task.status}
        ]
        page = [task.summary() for task in tasks[offset : offset + limit]]
        return _json({"tasks": page, "count": len(tasks)})

    def _show(self, target: Route, call: Call) -> Reply:
        task = self._task(target)
        return _json(task.details(parameters.milliseconds(call.query, "query_time")))

    def _statistics(self, target: Route, call: Call) -> Reply:
        task, query = self._task(target), call.query
        wanted = parameters.statistics(query)
        start = parameters.milliseconds(query, "start_time")
        end = parameters.milliseconds(query, "end_time")
        if end < start:
            raise errors.invalid("end_time")
        return _json(task.statistics(wanted, start, end))

    def _start_task(self, target: Route, call: Call) -> Reply:
        task = self._task(target)
        parameters.texts(parameters.json_object(call.body), parameters.CREDENTIALS)
        if not task.start(self.clock.now()):
            raise RefusedError(400, "OMS.0065", "The task has already been started.")
        return Reply(200)

    def _stop_task(self, target: Route, _call: Call) -> Reply:
        if not self._task(target).stop():
            raise RefusedError(400, "OMS.0066", "Failed to pause the task: not in progress.")
        return Reply(200)

    def _delete(self, target: Route, _call: Call) -> Reply:
        task = self._task(target)
        if task.status is Status.SYNCHRONIZING:
            raise RefusedError(400, "OMS.0063", "The task is in progress. Pause it first.")
        del self.tasks[task.task_id]
        return Reply(200)

    def _create_task(self, target: Route, call: Call) -> Reply:
        request = parameters.new_task(parameters.json_object(call.body))
        used = sum(task.project_id == target.project_id for task in self.tasks.values())
        if used >= self.tasks_max:
            # Assumption: the code; the pages only say that there are at most five.
            raise RefusedError(400, "OMS.0077", "The number of tasks has reached the upper limit.")
        task_id = str(uuid.uuid5(_TASK_NAMESPACE, str(next(self._task_numbers))))
        self.create_task(task_id, target.project_id, **request)
        return _json({"sync_task_id": task_id})


def _json(value: object) -> Reply:
    return Reply(200, json.dumps(value), {"Content-Type": errors.JSON})
