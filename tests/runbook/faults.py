"""Faults that more than one module of cases turns on."""

from __future__ import annotations

from localcloud.cloud import LocalCloud
from localcloud.faults import Fault
from localcloud.oss import EventRule

INVALID = "<Error><Code>InvalidObjectName</Code><Message>no</Message></Error>"


def fail_records(cloud: LocalCloud, times: int) -> None:
    """Let OSS refuse so many records."""
    fault = Fault("oss", "PutObject", status=400, body=INVALID, times=times)
    fault.content_type = "application/xml"
    cloud.faults.add(fault)


def bring_events_of_another_bucket(cloud: LocalCloud) -> None:
    """Let the queue bring an event of a bucket that the task does not copy."""
    cloud.oss.create_bucket("other")
    cloud.oss.rules.append(EventRule("other", "oss-events"))
    cloud.oss.put("other", "a", b"a")
