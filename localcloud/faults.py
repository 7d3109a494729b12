"""Faults on demand: which call of which service goes wrong, how, and how often."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any, ClassVar


class Action(StrEnum):
    """What happens to a call that a fault picks.

    `STATUS` answers with `status` and `body`, after `seconds`, with no effect. `CUT_BEFORE` closes
    the connection with no effect. `CUT_AFTER` lets the call take effect, then closes the
    connection: the lost reply. `HANG` holds the call for `seconds` and then cuts it, with no
    effect; `HANG_AFTER` takes effect first. `LATENCY` delays the call by `seconds`, then serves it
    as usual. `TRUNCATE` takes effect and sends half of the answer's body. Services add actions of
    their own (duplicate delivery, for one) under `CUSTOM` with a `name`.
    """

    STATUS = "status"
    CUT_BEFORE = "cut_before"
    CUT_AFTER = "cut_after"
    HANG = "hang"
    HANG_AFTER = "hang_after"
    LATENCY = "latency"
    TRUNCATE = "truncate"
    CUSTOM = "custom"


@dataclass(slots=True)
class Fault:
    """One rule. `service` and `operation` are shell patterns; `times` None means until cleared."""

    # Read by pydantic, where the admin API takes a rule as JSON.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    service: str = "*"
    operation: str = "*"
    action: Action = Action.STATUS
    status: int = 503
    body: str = ""
    content_type: str = "text/plain"
    headers: dict[str, str] | None = None
    seconds: float = 0.0
    name: str = ""
    probability: float = 1.0
    times: int | None = None

    def __post_init__(self) -> None:
        if not 200 <= self.status <= 599:
            raise ValueError("status must be between 200 and 599")
        if not 0 <= self.probability <= 1:
            raise ValueError("probability must be between 0 and 1")
        if not 0 <= self.seconds < math.inf:
            raise ValueError("seconds must be 0 or more")
        if self.times is not None and self.times < 1:
            raise ValueError("times must be 1 or more, or null for until cleared")
        if self.action is Action.CUSTOM and not self.name:
            raise ValueError("a custom fault needs a name, such as duplicate")

    def as_json(self) -> dict[str, Any]:
        """Return the rule as the admin API shows it."""
        return asdict(self)


class Faults:
    """The rules in force, tried in the order they were added."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rules: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Put a rule in force behind those already there."""
        self._rules.append(fault)

    def lift(self, fault: Fault) -> None:
        """Take a rule out of force; one that is not in force any more is passed over."""
        self._rules = [rule for rule in self._rules if rule is not fault]

    def clear(self) -> None:
        """Lift every rule."""
        self._rules.clear()

    def __iter__(self) -> Iterator[Fault]:
        return iter(tuple(self._rules))

    def pick(self, service: str, operation: str, *, custom: str = "") -> Fault | None:
        """Return the first rule that strikes this call, and use up one of its `times`.

        With `custom` only CUSTOM rules of that name are looked at; without, only the others.
        """
        for rule in self._rules:
            wanted = rule.name == custom if custom else rule.action is not Action.CUSTOM
            if not wanted or (custom and rule.action is not Action.CUSTOM):
                continue
            if not fnmatchcase(service, rule.service) or not fnmatchcase(operation, rule.operation):
                continue
            if rule.probability < 1.0 and self._rng.random() >= rule.probability:
                continue
            if rule.times is not None:
                rule.times -= 1
                if rule.times <= 0:
                    self._rules.remove(rule)
            return rule
        return None
