"""Many relays at once with a wrong key: real processes, against a gateway that locks a key as Huawei does."""

from __future__ import annotations

import pytest

from harness.ops import objects
from harness.processes import supervising
from localcloud.cloud import LocalCloud
from localcloud.identity import HUAWEI, Identity

RELAYS = 10
REFUSED_MAX = 5
WRONG = "a-wrong-secret"


def refused(cloud: LocalCloud) -> int:
    return sum(call.status == 401 for call in cloud.oms.served)


@pytest.mark.parametrize("relays", [RELAYS])
async def test_relays_that_start_together_with_a_wrong_secret_ask_once_for_all(
    cloud: LocalCloud, relays: int
) -> None:
    cloud.prepare()
    async with supervising(cloud, is_measured=False) as supervisor:
        workers = [await supervisor.start(HW_SK=WRONG) for _ in range(relays)]

        def have_heard() -> bool:
            return all(
                any('"service":"oms"' in line and "APIGW.0301" in line for line in each.printed)
                for each in workers
            )

        await supervisor.until(have_heard, "the refusal, heard by all")
        # Each slot allows one call; a start just before the end of a slot meets two of them.
        assert 1 <= refused(cloud) <= 2 <= REFUSED_MAX
        rights = [name for name in objects(cloud) if name.startswith("fleet/probe/")]
        assert len(rights) == refused(cloud)
        # The lock would have refused the right key as well.
        cloud.huawei.add(Identity(HUAWEI.access_key, HUAWEI.secret))
        right = await supervisor.start()
        await right.ready()
        for each in (*workers, right):
            assert await each.stop() == 0
