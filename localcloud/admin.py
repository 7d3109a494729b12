"""The admin API: look into the local cloud and steer it from another process, in JSON.

GET    /state                     queues, buckets, tasks, and calls served
GET    /faults                    the faults in force
POST   /faults                    {"service": "oms", "action": "status", "status": 503, "times": 3}
DELETE /faults                    lift all faults
POST   /clock                     {"service": "mns", "offset_seconds": 3600}
POST   /switches                  {"short_batches": true}, or any other switch of MNS
POST   /switches/oms              {"lose_share": 0.01, "copy_seconds": 5}: how copies and their lists go
POST   /switches/obs              {"crc64_header": ""}, or any other switch of OBS
POST   /keys                      {"cloud": "alibaba", "denied": ["mns:DeleteMessage"]}, or {"secret": "..."}
POST   /queues/<name>/messages    the body is stored as it is, as one message
PUT    /queues/<name>/dead-letter {"target": "dead", "max_receive_count": 3}
POST   /tasks/<id>/status         {"status": "STOPPED"} or {"status": "SYNCHRONIZING"}
PUT    /objects/<bucket>/<key>    store an object in OSS and announce it
GET    /objects/<bucket>/<key>    read an object from OSS
DELETE /objects/<bucket>/<key>    remove an object from OSS, with no event
GET    /copies/<bucket>/<key>     read what OMS copied
PUT    /copies/<bucket>/<key>     store an object in OBS, as somebody else than OMS would
DELETE /copies/<bucket>/<key>     remove an object from OBS
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any
from urllib.parse import unquote

from pydantic import TypeAdapter, ValidationError

from localcloud.admin_input import (
    BEHAVIOUR,
    CLOCK,
    COPYING,
    DEAD_LETTER,
    FAULT,
    FAULT_ACCEPTED,
    KEY,
    OBS_BEHAVIOUR,
    SWITCHES,
    TASK,
    BadRequestError,
    answer,
    problems,
    read,
)
from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import Identities
from localcloud.mns import MnsError, MnsService
from localcloud.obs import ObsService
from localcloud.obs.errors import ObsError
from localcloud.oms import OmsService, Status
from localcloud.oss import OssService
from localcloud.oss.errors import OssError
from localcloud.service import Call, Reply, Service
from localcloud.storage.bucket import Bucket

HELP = str(__doc__)


class AdminService(Service):
    """The admin API on its own port. Unsigned, loopback only, and struck by no fault."""

    name = "admin"

    def __init__(
        self,
        clock: Clock,
        faults: Faults,
        *,
        mns: MnsService,
        oss: OssService,
        oms: OmsService,
        obs: ObsService,
        keys: dict[str, Identities],
    ) -> None:
        super().__init__(clock, Faults(random.Random(0)))  # noqa: S311  decides nothing
        self._steered = faults
        self._mns = mns
        self._oss = oss
        self._oms = oms
        self._obs = obs
        self._keys = keys
        self._routes: dict[str, Callable[[Call, list[str]], Reply]] = {
            "GET state": lambda _call, _rest: answer(self.state()),
            "GET faults": lambda _call, _rest: answer({"faults": self.state()["faults"]}),
            "POST faults": self._add_fault,
            "DELETE faults": self._clear_faults,
            "POST clock": self._set_clock,
            "POST switches": self._set_switches,
            "POST keys": self._set_keys,
            "POST queues": self._publish,
            "PUT queues": self._set_dead_letter,
            "POST tasks": self._set_task,
            "PUT objects": self._put_object,
            "GET objects": self._get_object,
            "DELETE objects": self._delete_object,
            "GET copies": self._get_copy,
            "PUT copies": self._put_copy,
            "DELETE copies": self._delete_copy,
        }

    def operation(self, call: Call) -> str:
        """Name the route, such as `POST faults`."""
        return f"{call.method} {call.path.strip('/').partition('/')[0]}"

    async def serve(self, call: Call) -> Reply:
        """Act, and answer JSON; bad input is answered with what is accepted."""
        route = self._routes.get(self.operation(call), _no_such_path)
        rest = [unquote(part) for part in call.path.lstrip("/").split("/", 2)[1:]]
        try:
            return route(call, rest)
        except BadRequestError as bad:
            return answer({"error": bad.problem, "accepted": bad.accepted}, bad.status)

    def state(self) -> dict[str, Any]:
        """Return everything worth watching, as /state shows it."""
        now_ms = self._mns.store.now_ms()
        queues = self._mns.store.queues
        return {
            "queues": {name: asdict(queue.counts(now_ms)) for name, queue in queues.items()},
            "buckets": {name: len(bucket) for name, bucket in self._oss.buckets.items()},
            "copies": {name: _copies(bucket) for name, bucket in self._obs.buckets.items()},
            "late_copies": self._oms.copier.late,
            "tasks": {
                task_id: task.details(self._oms.clock.now())
                for task_id, task in self._oms.tasks.items()
            },
            "calls": {service.name: _calls(service) for service in self._services()},
            "clocks": {service.name: service.clock.offset_seconds for service in self._services()},
            "faults": [fault.as_json() for fault in self._steered],
        }

    def _services(self) -> tuple[Service, ...]:
        return (self._mns, self._oss, self._oms, self._obs)

    def _add_fault(self, call: Call, _rest: list[str]) -> Reply:
        fault = read(FAULT, call, FAULT_ACCEPTED)
        self._steered.add(fault)
        return answer(fault.as_json(), 201)

    def _clear_faults(self, _call: Call, _rest: list[str]) -> Reply:
        self._steered.clear()
        return Reply(204)

    def _set_clock(self, call: Call, _rest: list[str]) -> Reply:
        accepted = {"service": ["mns", "oss", "oms", "obs", "*"], "offset_seconds": "a number"}
        setting = read(CLOCK, call, accepted)
        for service in self._services():
            if setting.service in {"*", service.name}:
                service.clock.offset_seconds = setting.offset_seconds
        return answer({service.name: service.clock.offset_seconds for service in self._services()})

    def _set_keys(self, call: Call, _rest: list[str]) -> Reply:
        accepted = {"cloud": list(self._keys), "secret": "a text", "denied": "patterns of actions"}
        setting = read(KEY, call, accepted)
        known = self._keys[setting.cloud]
        for key in known:
            secret = key.secret if setting.secret is None else setting.secret
            denied = key.denied if setting.denied is None else setting.denied
            known.add(replace(key, secret=secret, denied=denied))
        return answer({key.access_key: {"denied": key.denied} for key in known})

    def _publish(self, call: Call, rest: list[str]) -> Reply:
        if len(rest) != 2 or rest[1] != "messages":
            raise BadRequestError("no such path", "POST /queues/<name>/messages", 404)
        try:
            message_id = self._mns.publish(rest[0], call.body.decode())
        except UnicodeDecodeError:
            raise BadRequestError("the body is not UTF-8", "any UTF-8 text, up to 64 KB") from None
        except MnsError as error:
            accepted = {"queues": list(self._mns.store.queues), "body": "XML text up to 64 KB"}
            raise BadRequestError(error.message, accepted, error.status) from error
        return answer({"message_id": message_id}, 201)

    def _set_switches(self, call: Call, rest: list[str]) -> Reply:
        switched: dict[str, tuple[Any, TypeAdapter[Any]]] = {
            "mns": (self._mns.behaviour, BEHAVIOUR),
            "oms": (self._oms.copying, COPYING),
            "obs": (self._obs.behaviour, OBS_BEHAVIOUR),
        }
        name = "/".join(rest) or "mns"
        if name not in switched:
            raise BadRequestError(
                "no such switches", {"path": [f"/switches/{n}" for n in switched]}, 404
            )
        behaviour, adapter = switched[name]
        accepted = asdict(behaviour)
        wanted = read(SWITCHES, call, accepted)
        try:
            checked = adapter.validate_python(accepted | wanted)
        except ValidationError as error:
            raise BadRequestError(problems(error), accepted) from error
        for each in wanted:
            setattr(behaviour, each, getattr(checked, each))
        return answer(asdict(behaviour))

    def _set_dead_letter(self, call: Call, rest: list[str]) -> Reply:
        if len(rest) != 2 or rest[1] != "dead-letter":
            raise BadRequestError("no such path", "PUT /queues/<name>/dead-letter", 404)
        queues = list(self._mns.store.queues)
        accepted = {"target": queues, "max_receive_count": "1 or more"}
        policy = read(DEAD_LETTER, call, accepted)
        if policy.target not in queues:
            raise BadRequestError("no such queue", accepted, 404)
        try:
            self._mns.store.set_dead_letter(rest[0], policy)
        except MnsError as error:
            raise BadRequestError(error.message, accepted, error.status) from error
        return answer(asdict(policy))

    def _set_task(self, call: Call, rest: list[str]) -> Reply:
        if len(rest) != 2 or rest[1] != "status":
            raise BadRequestError("no such path", "POST /tasks/<id>/status", 404)
        task = self._oms.tasks.get(rest[0])
        if task is None:
            raise BadRequestError("no such task", {"tasks": list(self._oms.tasks)}, 404)
        wanted = read(TASK, call, {"status": [status.value for status in Status]}).status
        if wanted is Status.STOPPED:
            task.stop()
        else:
            task.start(self._oms.clock.now())
        return answer({"status": task.status.value})

    def _put_object(self, call: Call, rest: list[str]) -> Reply:
        bucket, key = self._place(rest)
        try:
            stored = self._oss.put(bucket, key, call.body)
        except OssError as error:
            raise BadRequestError(str(error), "a key of 1 to 1023 bytes") from error
        return answer({"key": stored.key, "etag": stored.etag, "size": stored.size}, 201)

    def _get_object(self, _call: Call, rest: list[str]) -> Reply:
        stored = self._oss.read(*self._place(rest))
        if stored is None:
            raise BadRequestError("no such object", "GET /objects/<bucket>/<key>", 404)
        return Reply(200, stored.data, {"Content-Type": stored.described.content_type})

    def _delete_object(self, _call: Call, rest: list[str]) -> Reply:
        bucket, key = self._place(rest)
        self._oss.buckets[bucket].delete(key)
        return Reply(204)

    def _get_copy(self, _call: Call, rest: list[str]) -> Reply:
        copied = self._obs.read(rest[0], rest[1]) if len(rest) == 2 else None
        if copied is None:
            raise BadRequestError("no such copy", "GET /copies/<bucket>/<key>", 404)
        return Reply(200, copied.data, {"Content-Type": copied.described.content_type})

    def _put_copy(self, call: Call, rest: list[str]) -> Reply:
        bucket, key = self._destination(rest)
        try:
            stored = self._obs.write(bucket, key, call.body)
        except ObsError as error:
            raise BadRequestError(str(error), "a key of 1 to 1024 bytes") from error
        return answer({"key": stored.key, "etag": stored.etag, "size": stored.size}, 201)

    def _delete_copy(self, _call: Call, rest: list[str]) -> Reply:
        self._obs.remove(*self._destination(rest))
        return Reply(204)

    def _destination(self, rest: list[str]) -> tuple[str, str]:
        if len(rest) != 2 or rest[0] not in self._obs.buckets:
            accepted = {"path": "/copies/<bucket>/<key>", "buckets": list(self._obs.buckets)}
            raise BadRequestError("no such bucket", accepted, 404)
        return rest[0], rest[1]

    def _place(self, rest: list[str]) -> tuple[str, str]:
        if len(rest) != 2 or rest[0] not in self._oss.buckets:
            accepted = {"path": "/objects/<bucket>/<key>", "buckets": list(self._oss.buckets)}
            raise BadRequestError("no such bucket", accepted, 404)
        return rest[0], rest[1]


def _copies(bucket: Bucket) -> int:
    """Count what was copied, without the lists of results."""
    return sum(not key.startswith("oms/") for key in bucket.keys())  # noqa: SIM118  a bucket is no dict


def _calls(service: Service) -> dict[str, dict[str, int]]:
    """Count by operation and status; status 0 stands for a connection that was cut."""
    calls: dict[str, dict[str, int]] = {}
    for (operation, status), number in sorted(service.counts.items()):
        calls.setdefault(operation, {})[str(status)] = number
    return calls


def _no_such_path(_call: Call, _rest: list[str]) -> Reply:
    raise BadRequestError("no such path", HELP.splitlines(), 404)
