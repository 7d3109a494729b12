"""Everything that can go wrong with a call, as one tree, and the one place that says whose fault it is.

    RelayError
    ├── CallFailed     a call to MNS, OSS or OMS did not do what it was asked
    └── Fatal          the process cannot go on; the text says what to change

`CallFailed` carries two verdicts. `outcome` says what is known about the effect, `blame` says who has to
act: nobody (it passes), whoever owns the keys, whoever configured the service, or the one item itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What is known after a post. `UNKNOWN`: it was sent and no answer came; neither success nor failure."""

    ACCEPTED = "accepted"
    RETRY_LATER = "retry_later"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class Blame(StrEnum):
    """Who has to act before the same call can succeed.

    `PASSING`: nobody; time heals it. `CREDENTIALS`: keys, tokens or the clock; repeating is dangerous,
    because Huawei locks an access key after five refusals in a row (devg-apisign, api-sign-0001).
    `SERVICE`: a missing bucket, queue or task, a stopped task, a denied permission, a frozen account.
    `ITEM`: this one key or message is bad, and its neighbours are not.
    """

    PASSING = "passing"
    CREDENTIALS = "credentials"
    SERVICE = "service"
    ITEM = "item"


class RelayError(Exception):
    """The root of every error that the relay raises on purpose."""


class Fatal(RelayError):  # noqa: N818  the name says what it is
    """The process cannot go on."""


# How the message begins where something else answered in place of the vendor.
FROM_ELSEWHERE = "answered by something that is not "


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed call in numbers and words. `status` 0 means that no answer came.

    `resource` is what was asked, where advice can name it: a queue, or `bucket/name`; `place` is where: the
    endpoint of MNS, the region of OSS.
    """

    service: str
    operation: str
    outcome: Outcome
    blame: Blame
    status: int = 0
    code: str = ""
    message: str = ""
    request_id: str = ""
    retry_after_seconds: float | None = None
    resource: str = ""
    place: str = ""

    @property
    def kind(self) -> tuple[str, str, Blame, int, str]:
        """What it has in common with others of its kind: all but the words and ids of this one call."""
        return self.service, self.operation, self.blame, self.status, self.code

    def __str__(self) -> str:
        what = f"{self.service} {self.operation}"
        how = f"answered {self.status} {self.code}".rstrip() if self.status else "gave no answer"
        why = f": {self.message}" if self.message else ""
        ask = f" (request {self.request_id})" if self.request_id else ""
        return f"{what} {how}{why}{ask}"


class CallFailed(RelayError):  # noqa: N818  the name says what it is
    """A call to MNS, OSS or OMS did not do what it was asked; `failure` tells the rest."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure))
        self.failure = failure
