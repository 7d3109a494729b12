from __future__ import annotations

import asyncio

import pytest

from doubles.build import Heard, failure
from doubles.clock import QuickClock, settle
from worker.errors import Blame
from worker.outages.breaker import State
from worker.outages.breakers import Breakers, Cloud


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
