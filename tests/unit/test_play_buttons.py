"""The fault buttons of the playground: what each turns on, and that it turns the same off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from localcloud.play.buttons import Panel, buttons_of

FIRST = Fault("oss", action=Action.HANG, seconds=1)


class Timers:
    """Calls for later that are made when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Waiting] = []

    def __call__(self, seconds: float, call: Callable[[], None]) -> Waiting:
        self.waiting.append(Waiting(self, seconds, call))
        return self.waiting[-1]


class Waiting:
    def __init__(self, timers: Timers, seconds: float, call: Callable[[], None]) -> None:
        self._timers = timers
        self.seconds = seconds
        self.call = call

    def cancel(self) -> None:
        if self in self._timers.waiting:
            self._timers.waiting.remove(self)


@pytest.fixture
def cloud() -> LocalCloud:
    cloud = LocalCloud()
    cloud.faults.add(FIRST)
    return cloud


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    return tmp_path / "hw_sk"


@pytest.fixture
def panel(cloud: LocalCloud, timers: Timers, secret_file: Path) -> Panel:
    return Panel(buttons_of(cloud, secret_file), 30, timers)


def secret_of(cloud: LocalCloud) -> str:
    [key] = cloud.huawei
    return key.secret


@pytest.mark.parametrize(
    ("key", "service", "status"),
    [("1", "oms", 503), ("3", "oss", 503), ("4", "oms", 400), ("5", "*", 503)],
)
def test_a_key_turns_a_fault_on_and_time_turns_it_off(
    panel: Panel, cloud: LocalCloud, timers: Timers, key: str, service: str, status: int
) -> None:
    assert f"{panel.buttons[key].name}, for 30 s." in panel.press(key)
    assert [(each.service, each.status) for each in list(cloud.faults)[1:]] == [(service, status)]
    [timer] = timers.waiting
    assert timer.seconds == 30
    timer.call()
    assert list(cloud.faults) == [FIRST]
    assert panel.on == []


def test_the_same_key_again_starts_the_time_anew(
    panel: Panel, cloud: LocalCloud, timers: Timers
) -> None:
    panel.press("1")
    [before] = timers.waiting
    panel.press("1")
    assert len(timers.waiting) == 1
    assert before not in timers.waiting
    assert len(list(cloud.faults)) == 2


def test_c_turns_off_what_keys_turned_on_and_nothing_else(
    panel: Panel, cloud: LocalCloud, timers: Timers
) -> None:
    for key in "135":
        panel.press(key)
    assert len(panel.on) == 3
    assert panel.press("c").startswith("No fault of a key is on")
    assert (panel.on, timers.waiting) == ([], [])
    assert list(cloud.faults) == [FIRST]


def test_a_replaced_key_reaches_the_relay_when_the_trouble_ends(
    panel: Panel, cloud: LocalCloud, timers: Timers, secret_file: Path
) -> None:
    first = secret_of(cloud)
    panel.press("2")
    assert secret_of(cloud) != first
    assert not secret_file.exists()
    timers.waiting[0].call()
    assert secret_file.read_text() == secret_of(cloud)
    panel.press("2")
    assert secret_file.read_text() != secret_of(cloud)
    panel.press("c")
    assert secret_file.read_text() == secret_of(cloud)


def test_a_fault_that_was_cleared_by_another_way_is_no_trouble(
    panel: Panel, cloud: LocalCloud
) -> None:
    panel.press("1")
    cloud.faults.clear()
    panel.press("c")
    assert list(cloud.faults) == []


def test_other_keys_do_nothing(panel: Panel, cloud: LocalCloud) -> None:
    assert panel.press("x") == ""
    assert list(cloud.faults) == [FIRST]
