from __future__ import annotations

import asyncio

import pytest

from doubles.build import Heard, failure
from doubles.clock import QuickClock, settle
from worker.errors import Blame
from worker.outages.breaker import State
from worker.outages.breakers import Breakers, Cloud, OneOf


@pytest.fixture
def breakers() -> Breakers:
    return Breakers(QuickClock(), Heard().journal)


def test_there_may_be_any_number_and_each_keeps_its_place(breakers: Breakers) -> None:
    added = [breakers.add(f"oms-{number}", Cloud.HUAWEI) for number in range(7)]
    assert list(breakers) == added
    assert [each.service for each in breakers] == [f"oms-{number}" for number in range(7)]
    assert all(each.state is State.OPEN for each in breakers)


async def test_new_credentials_are_tried_at_once_where_they_are_used_and_nowhere_else(
    breakers: Breakers,
) -> None:
    probed: list[str] = []
    added = [breakers.add("mns", Cloud.ALIBABA), breakers.add("oms", Cloud.HUAWEI)]
    added += [breakers.add("oss", Cloud.ALIBABA), breakers.add("obs", Cloud.HUAWEI)]
    for breaker in added:
        breaker.open(failure(Blame.CREDENTIALS))

    async def keep_probing(number: int) -> None:
        async def probe() -> None:
            probed.append(added[number].service)

        await added[number].keep_probing(probe)

    tasks = [asyncio.create_task(keep_probing(number)) for number in range(4)]
    await settle()
    assert probed == []
    breakers.probe_now(Cloud.HUAWEI)
    await settle()
    assert sorted(probed) == ["obs", "oms"]
    breakers.probe_now(Cloud.ALIBABA)
    await settle()
    assert sorted(probed) == ["mns", "obs", "oms", "oss"]
    for task in tasks:
        task.cancel()


def test_of_several_routes_one_that_works_is_enough(breakers: Breakers) -> None:
    one, other = breakers.add("oms", Cloud.HUAWEI), breakers.add("oms", Cloud.HUAWEI)
    together, heard = OneOf([one, other]), list[State]()
    together.listeners.append(lambda: heard.append(together.state))
    assert together.is_open
    one._become(State.TRIAL, None)
    assert together.state is State.CLOSED
    one._become(State.CLOSED, None)
    other._become(State.TRIAL, None)
    one.open(failure(Blame.CREDENTIALS))
    assert not together.is_open
    other.open(failure(Blame.CREDENTIALS))
    assert together.is_open
    assert heard == [State.CLOSED] * 4 + [State.OPEN]


def test_a_breaker_of_a_route_is_shown_under_its_name_too(breakers: Breakers) -> None:
    journal = Heard().journal.of_route("films")
    breaker = breakers.add("oms", Cloud.HUAWEI, journal)
    assert (breaker.service, breaker.name) == ("oms", "oms/films")
    assert breakers.add("mns", Cloud.ALIBABA).name == "mns"


def test_a_refusal_that_was_met_elsewhere_stays_the_reason(breakers: Breakers) -> None:
    breaker = breakers.add("oms", Cloud.HUAWEI)
    breaker._become(State.CLOSED, None)
    refusal = failure(Blame.CREDENTIALS, status=401)
    breaker.hear_refusal(refusal)
    assert (breaker.is_open, breaker.failure) == (True, refusal)
    breaker.hear_refusal(failure(Blame.CREDENTIALS, status=403))
    breaker.open(failure(Blame.SERVICE))
    assert breaker.failure == refusal
