"""An overwrite of equal size while the older state is being copied: the silent skip of OMS's default rule."""

from __future__ import annotations

import pytest

from harness.relay import relaying
from localcloud.cloud import LocalCloud
from localcloud.oms import Consistency

COPY_SECONDS = 60.0


@pytest.mark.parametrize(
    ("check", "arrived"),
    [(Consistency.CRC64, b"second"), (Consistency.SIZE_LAST_MODIFIED, b"first.")],
)
async def test_the_last_state_arrives_if_the_task_compares_contents(
    cloud: LocalCloud, check: Consistency, arrived: bytes
) -> None:
    cloud.prepare(consistency_check=check)
    cloud.oms.copier.copy_seconds = COPY_SECONDS
    async with relaying(cloud) as relay:
        cloud.oss.put("source", "report", b"first.")
        await relay.until(lambda: cloud.oms.copier.is_copying, "the first copy to be under way")
        cloud.oss.put("source", "report", b"second")
        await relay.until(lambda: relay.metric("messages_deleted") == 2, "both events to be done")
        assert cloud.oms.copier.is_copying
        # The first copy ends, later than the second state was written.
        cloud.oms.clock.offset_seconds += COPY_SECONDS
        cloud.oms.copier.copy_seconds = 0.0
        await cloud.oms.drained()
    copied = cloud.obs.read("destination", "report")
    assert copied is not None
    assert copied.data == arrived
