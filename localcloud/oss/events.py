"""Event rules: which changes are announced, on which queue, and in which form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import count

from localcloud.oss.eventbody import Announcement, Form, KeyForm, Path, body_of
from localcloud.oss.turn import Change

__all__ = ["Announcement", "EventRule", "Form", "KeyForm", "Path", "messages"]

_rule_numbers = count(1)


@dataclass(frozen=True, slots=True)
class EventRule:
    """One rule of a bucket: matching changes go to `queue`.

    `event_patterns` are names such as `ObjectCreated:PutObject` or wildcards: `ObjectCreated:*`
    takes in InitiateMultipartUpload and every UploadPart too, as on the real service.
    `form` is what the message looks like, `key_form` how the key stands in it; `events_per_message`
    above 1 lets the changes of one call share messages (a CloudEvent always carries one event).
    """

    bucket: str
    queue: str
    event_patterns: tuple[str, ...] = ("ObjectCreated:*",)
    prefix: str = ""
    suffix: str = ""
    form: Form = Form.BASE64
    key_form: KeyForm = KeyForm.RAW
    events_per_message: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        if self.events_per_message < 1:
            raise ValueError("events_per_message must be at least 1")
        if not self.name:
            object.__setattr__(self, "name", f"local-rule-{next(_rule_numbers)}")

    @property
    def path(self) -> Path:
        """How such a message reaches the queue: directly, by a topic, or by EventBridge."""
        return self.form.path

    def matches(self, bucket: str, change: Change) -> bool:
        """Whether the rule announces this change of this bucket."""
        return (
            bucket == self.bucket
            and change.key.startswith(self.prefix)
            and change.key.endswith(self.suffix)
            and any(fnmatchcase(change.name, pattern) for pattern in self.event_patterns)
        )


def messages(
    rules: Iterable[EventRule], changes: Sequence[Change], about: Announcement
) -> Iterator[tuple[str, str]]:
    """Yield queue and message body for every rule that announces some of the changes."""
    for rule in rules:
        chosen = [change for change in changes if rule.matches(about.bucket, change)]
        size = 1 if rule.path is Path.EVENTBRIDGE else rule.events_per_message
        for at in range(0, len(chosen), size):
            batch = chosen[at : at + size]
            yield rule.queue, body_of(rule.form, rule.key_form, rule.name, batch, about)
