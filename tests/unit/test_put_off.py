from __future__ import annotations

from math import inf

import pytest

from doubles.build import message
from doubles.clock import HandClock
from worker.flow.put_off import Deliveries, PutOff, put_off_seconds


def test_messages_are_hidden_for_longer_each_time_up_to_a_quarter_of_an_hour() -> None:
    seconds = [put_off_seconds(count) for count in range(1, 20)]
    assert seconds == sorted(seconds)
    assert (seconds[0], seconds[-1]) == (2, 900)
    assert sum(seconds[:12]) > 3600


def test_what_is_hidden_is_counted_until_it_is_visible_again() -> None:
    clock = HandClock()
    hidden = PutOff(clock, 2)
    assert (len(hidden), hidden.seconds_left(), hidden.is_full) == (0, inf, False)
    hidden.add("films", 10.0)
    hidden.add("music", 4.0)
    assert hidden.is_full
    assert (hidden.of_route("films"), hidden.of_route("music")) == (1, 1)
    assert hidden.seconds_left() == 4.0
    clock.advance(4.0)
    assert (len(hidden), hidden.of_route("music"), hidden.is_full) == (1, 0, False)


@pytest.mark.parametrize(("count", "counted"), [(1, 1), (25, 25)])
def test_deliveries_of_a_message_from_after_the_outage_count(count: int, counted: int) -> None:
    one = message(deliveries=count)
    assert Deliveries().counted(one, one.enqueue_time_ms / 1000 - 1) == counted


def test_deliveries_up_to_a_put_off_do_not_count() -> None:
    deliveries, later = Deliveries(), message(deliveries=28)
    deliveries.excuse(message(deliveries=25))
    assert deliveries.counted(later, 0.0) == 3


def test_what_others_put_off_counts_from_when_it_is_first_asked_for() -> None:
    deliveries, back_at = Deliveries(), message().enqueue_time_ms / 1000 + 60
    assert deliveries.counted(message(deliveries=25), back_at) == 1
    assert deliveries.counted(message(deliveries=27), back_at) == 3


def test_what_is_forgotten_counts_in_full() -> None:
    deliveries = Deliveries(least=2)
    for number in range(6):
        deliveries.excuse(message(str(number), deliveries=25))
    assert deliveries.counted(message("0", deliveries=26), 0.0) == 26
    assert deliveries.counted(message("5", deliveries=26), 0.0) == 1
