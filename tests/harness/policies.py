"""The policies of deploy/, read as the clouds read them, and the calls that a local cloud has served."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from string import Template
from urllib.parse import unquote

from harness.account import prepared
from localcloud.cloud import LocalCloud
from worker.advice import action as action_of

POLICIES = Path(__file__).parents[2] / "deploy" / "policies"


@dataclass(frozen=True, order=True)
class Right:
    """An action on a resource; in a policy either may hold `*`."""

    action: str
    resource: str

    def covers(self, wanted: Right) -> bool:
        return fnmatchcase(wanted.action.lower(), self.action.lower()) and fnmatchcase(
            wanted.resource, self.resource
        )


def rights(name: str, cloud: LocalCloud) -> list[Right]:
    """Every right that a policy grants, with the names of what was prepared filled in."""
    names = prepared(cloud)
    text = Template((POLICIES / name).read_text()).substitute(
        task_id=names.task_id,
        queue=names.queue,
        dead_letter_queue=names.dead_letter_queue or "none",
        log_bucket=names.log_bucket,
        source_bucket=names.source_bucket,
        destination_bucket=names.destination_bucket,
    )
    statements = json.loads(text)["Statement"]
    assert all(each["Effect"] == "Allow" for each in statements)
    return [
        Right(action, resource)
        for each in statements
        for action in each["Action"]
        for resource in each.get("Resource", ["*"])
    ]


def actions(granted: list[Right]) -> tuple[str, ...]:
    return tuple(sorted({right.action for right in granted}))


def used(cloud: LocalCloud) -> Iterator[Right]:
    """What each signed call needed, in the words of a policy."""
    for call in cloud.mns.served:
        path = call.target.partition("?")[0]
        if path.startswith("/queues/"):
            yield Right(action_of("mns", call.operation), f"acs:mns:*:*:{path}")
    for call in cloud.oss.served:
        path = unquote(call.target.partition("?")[0].strip("/"))
        if path:
            yield Right(action_of("oss", call.operation), f"acs:oss:*:*:{path}")
    for call in cloud.obs.served:
        bucket, _, key = unquote(call.target.partition("?")[0].strip("/")).partition("/")
        resource = f"object:{bucket}/{key}" if key else f"bucket:{bucket}"
        yield Right(action_of("obs", call.operation), f"obs:*:*:{resource}")
    for call in cloud.oms.served:
        if call.target != "/":
            yield Right(action_of("oms", call.operation), "*")
