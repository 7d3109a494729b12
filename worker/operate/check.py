"""How the doctor looks: what one check is, and how its calls are made: each once, none at a closed door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from worker.advice import is_wrong_region, told_of
from worker.errors import Blame, CallFailed, Failure
from worker.operate.connect import Clients

T = TypeVar("T")

# Services that one key opens: a refusal by either closes both.
_SAME_KEY = {"mns": ("mns", "oss"), "oss": ("mns", "oss"), "oms": ("oms",), "obs": ("obs",)}
_NOTHING_THERE = frozenset({"QueueNotExist", "NoSuchBucket"})


class CheckStatus(StrEnum):
    """`FAILURE`: the relay cannot work so. `WARNING`: it works, something else does not, or not for long.

    `SKIPPED`: not looked at; the detail says why.
    """

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Check:
    """`name` is `<service>.<what>`, such as `oss.write`; `fix` is empty where nothing has to be mended.

    `route` is empty for what all routes share, and where there is only one.
    """

    name: str
    verdict: CheckStatus
    detail: str
    fix: str = ""
    route: str = ""


def always(check: Check) -> Callable[[object], Check]:
    """Return a judge for whom every answer is as good: that the call was answered is the finding."""
    return lambda _: check


class ServiceProber:
    """Asks the services, and remembers which of them there is no use in asking again, and why.

    `refused` has the services that refused their key.

    Huawei locks a key after 5 refusals in a row (API Gateway, "AK/SK authentication"): a key that was refused
    once is not sent again, and none is sent while the clock is so far off that it would be refused.
    """

    def __init__(self, clients: Clients) -> None:
        self.clients = clients
        self.refused: set[str] = set()
        self._closed: dict[str, str] = {}

    def close(self, door: str, why: str) -> None:
        """Let every further question at this door be skipped, for the reason given."""
        self._closed.setdefault(door, why)

    async def ask(
        self,
        name: str,
        attempt: Callable[[], Awaitable[T]],
        judge: Callable[[T], Check],
        *,
        queue: str = "",
        otherwise: CheckStatus = CheckStatus.FAILURE,
        note: str = "",
    ) -> Check:
        """Make one call and judge its answer.

        `otherwise` is the verdict where the call is denied, for rights that the relay itself can do without;
        `note` then says what goes without it. `queue` is the MNS queue that is asked: a door of its own.
        """
        service = name.partition(".")[0]
        why = self._closed.get(service) or self._closed.get(f"{service}/{queue}")
        if why:
            return Check(name, CheckStatus.SKIPPED, why)
        try:
            answer = await attempt()
        except CallFailed as failed:
            return self._judge_failure(name, failed.failure, queue, otherwise, note)
        return judge(answer)

    def _judge_failure(
        self, name: str, failure: Failure, queue: str, otherwise: CheckStatus, note: str
    ) -> Check:
        service = failure.service
        if failure.blame is Blame.CREDENTIALS:
            self.refused.add(service)
            for each in _SAME_KEY[service]:
                self.close(
                    each,
                    f"not tried: {service} has refused this key ({failure.code or failure.status})",
                )
        elif not failure.status:
            self.close(service, f"not tried: {service} gave no answer")
        elif failure.code in _NOTHING_THERE or (service == "oms" and failure.status in (400, 404)):
            what = {"mns": f"{service}/{queue}"}.get(service, service)
            self.close(what, "not tried: there is no such " + _THING[service])
        elif is_wrong_region(failure):
            self.close(
                service, "not tried: every call would be refused for the region it is signed for"
            )
        is_denied = failure.status == 403 and failure.blame is Blame.SERVICE
        verdict = otherwise if is_denied else CheckStatus.FAILURE
        what, step = told_of(failure)
        return Check(name, verdict, what + (f" ({note})" if note and is_denied else ""), step)


_THING = {"mns": "queue", "oss": "bucket", "oms": "task", "obs": "bucket"}
