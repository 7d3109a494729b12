"""The faults of the demo: every kind once in a while, each with a limit, the same for the same seed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.oms import overload

UNDECODABLE = "this is no OSS event"
ANNOUNCED_TWICE = "OSS announces twice"
COPY_LOST = "OMS loses a copy"
COPY_FAILS = "OMS fails to copy"
ANSWER_LOST = "OMS takes a post, its answer is cut"


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault under a name for people; `times_max` is how often it may strike."""

    name: str
    rule: Fault
    times_max: int

    @property
    def struck(self) -> int:
        """How often it has struck so far."""
        return self.times_max - (self.rule.times or 0)


def make_trouble(cloud: LocalCloud, objects: int, *, with_lost_copies: bool) -> list[Planned]:
    """Put all faults in force; how often each may strike grows with the number of objects."""
    planned = [
        Planned(name, rule, times)
        for name, share, rule in _faults()
        for times in [max(1, round(objects * share))]
        if with_lost_copies or name not in (COPY_LOST, COPY_FAILS)
    ]
    for each in planned:
        each.rule.times = each.times_max
        cloud.faults.add(each.rule)
    return planned


def struck(planned: Iterable[Planned], name: str) -> int:
    """Return how often the fault of this name has struck."""
    return sum(each.struck for each in planned if each.name == name)


def _faults() -> list[tuple[str, float, Fault]]:
    """Return name, strikes per object, and rule."""
    busy, cut, late = Action.STATUS, Action.CUT_AFTER, Action.LATENCY
    post, receive = "CreateSyncEvents", "BatchReceiveMessage"
    overloaded = overload()
    overloaded.probability = 0.06
    throttled = Fault("oms", post, busy, 429, headers={"Retry-After": "1"}, probability=0.01)
    return [
        ("OMS answers 503", 0.01, overloaded),
        ("OMS answers 429, retry after 1 s", 0.001, throttled),
        (ANSWER_LOST, 0.005, Fault("oms", post, cut, probability=0.04)),
        ("OMS answers late", 0.01, Fault("oms", post, late, seconds=0.3, probability=0.05)),
        ("OSS answers 503", 0.01, Fault("oss", "PutObject", busy, 503, probability=0.02)),
        ("OSS takes a record, its answer is cut", 0.005, Fault("oss", "PutObject", cut, probability=0.01)),
        ("OSS answers late", 0.01, Fault("oss", "PutObject", late, seconds=0.2, probability=0.02)),
        ("MNS answers 503", 0.005, Fault("mns", "Batch*", busy, 503, probability=0.03)),
        ("MNS deletes, its answer is cut", 0.002, Fault("mns", "BatchDeleteMessage", cut, probability=0.04)),
        ("MNS hands out, its answer is cut", 0.001, Fault("mns", receive, cut, probability=0.03)),
        ("MNS hands out twice", 0.02, _custom("mns", receive, "duplicate", 0.03)),
        ("MNS hands out in another order", 0.02, _custom("mns", receive, "reorder", 0.3)),
        (COPY_LOST, 0.004, _custom("oms", "CopyObject", "copy_lost", 0.05)),
        (COPY_FAILS, 0.004, _custom("oms", "CopyObject", "copy_fails", 0.05)),
        (ANNOUNCED_TWICE, 0.01, _custom("oss", "PutObject", "duplicate_event", 0.01)),
    ]  # fmt: skip


def _custom(service: str, operation: str, name: str, probability: float) -> Fault:
    return Fault(service, operation, Action.CUSTOM, name=name, probability=probability)
