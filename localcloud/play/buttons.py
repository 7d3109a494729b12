"""The fault buttons: a key turns a trouble on, which ends by itself after a while."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.identity import HUAWEI
from localcloud.oms import overload
from localcloud.oms.errors import JSON, invalid

CLEAR = "c"
LATE_SECONDS = 1.0


class Timer(Protocol):
    """A call that is still to come; `asyncio.TimerHandle` is one."""

    def cancel(self) -> None:
        """Call it off."""


@dataclass(frozen=True, slots=True)
class Button:
    """A trouble under a key. `shows` says what to look for; `on` and `off` turn it."""

    key: str
    name: str
    shows: str
    on: Callable[[], object]
    off: Callable[[], object]


class Panel:
    """The buttons, and which of them are on. A trouble that is asked for again starts anew."""

    def __init__(
        self,
        buttons: Iterable[Button],
        seconds: float,
        later: Callable[[float, Callable[[], None]], Timer],
    ) -> None:
        self.buttons = {each.key: each for each in buttons}
        self.seconds = seconds
        self._later = later
        self._timers: dict[str, Timer] = {}

    @property
    def on(self) -> list[str]:
        """The names of the troubles that are on."""
        return [self.buttons[key].name for key in self._timers]

    def press(self, key: str) -> str:
        """Turn a trouble on, or all of them off; return what that means, empty for other keys."""
        if key == CLEAR:
            for each in tuple(self._timers):
                self._lift(each)
            return "No fault of a key is on. What waits is relayed now."
        button = self.buttons.get(key)
        if button is None:
            return ""
        self._lift(key)
        button.on()
        self._timers[key] = self._later(self.seconds, lambda: self._lift(key))
        return f"{button.name}, for {self.seconds:.0f} s. {button.shows}"

    def _lift(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
            self.buttons[key].off()


def buttons_of(cloud: LocalCloud, secret_file: Path) -> list[Button]:
    """Return the buttons of a cloud; the relay there reads its Huawei secret from `secret_file`."""
    bad_keys = str(invalid("object_keys").reply("").body)
    refusal = Fault("oms", "CreateSyncEvents", status=400, body=bad_keys, content_type=JSON)
    down = Fault("oss", action=Action.CUT_BEFORE)
    slow = Fault(action=Action.LATENCY, seconds=LATE_SECONDS)
    return [
        _rule("1", "OMS answers 503", "The relay stops receiving; messages wait.", cloud, overload()),
        _other_key(cloud, secret_file),
        _rule("3", "OSS is down", "No record, so no message is deleted.", cloud, down),
        _rule("4", "OMS answers 400 to all", "The relay blames OMS, and buries no key.", cloud, refusal),
        _rule("5", "Every call is 1 s slower", "The lag grows; nothing fails.", cloud, slow),
    ]  # fmt: skip


def _rule(key: str, name: str, shows: str, cloud: LocalCloud, fault: Fault) -> Button:
    faults = cloud.faults
    return Button(key, name, shows, lambda: faults.add(fault), lambda: faults.lift(fault))


def _other_key(cloud: LocalCloud, secret_file: Path) -> Button:
    """Somebody replaces the Huawei key; the relay is given the new one when the trouble ends."""
    made = 0

    def secret() -> str:
        return f"{HUAWEI.secret}-{made}"

    def replace_key() -> None:
        nonlocal made
        made += 1
        cloud.huawei.add(replace(HUAWEI, secret=secret()))

    shows = "The first refusal stops all posts. At the end the file has the new key; it is read within 10 s."
    return Button(
        "2", "OMS refuses the key", shows, replace_key, lambda: secret_file.write_text(secret())
    )
