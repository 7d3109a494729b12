"""The four services, wired as the real ones are: OSS announces to MNS, OMS copies from OSS to OBS."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from localcloud.admin import AdminService
from localcloud.clock import Clock
from localcloud.faults import Faults
from localcloud.identity import ALIBABA, HUAWEI, Identities
from localcloud.mns import Attributes, DeadLetterPolicy, MnsError, MnsService
from localcloud.obs import ObsService
from localcloud.oms import Consistency, OmsService
from localcloud.oss import EventRule, Form, KeyForm, OssService

TASK_ID = "5f0e8c6a-1d1b-4b8e-9a55-7d6f2c3b4a10"
PROJECT_ID = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the services listen on 127.0.0.1; 0 takes a free port."""

    mns: int = 0
    oss: int = 0
    oms: int = 0
    admin: int = 0
    obs: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """The names that `LocalCloud.prepare` made."""

    queue: str
    dead_letter_queue: str | None
    source_bucket: str
    log_bucket: str
    destination_bucket: str
    task_id: str


class LocalCloud:
    """MNS, OSS, OMS and OBS in this process: `async with LocalCloud() as cloud: ...`.

    Each service has a clock of its own (`cloud.mns.clock.offset_seconds = 3600`) over one `source`
    of time; `faults` strike all of them. `obs` holds what OMS copied. Same seed, same behaviour.
    `events_announced` counts the messages that OSS put into queues, `events_lost` those it could not.
    """

    def __init__(self, seed: int = 0, source: Callable[[], float] = time.time) -> None:
        self.rng = random.Random(seed)  # noqa: S311  repeatable on purpose, keeps no secret
        self.faults = Faults(self._branch())
        self.alibaba = Identities(ALIBABA)
        self.huawei = Identities(HUAWEI)
        self.events_announced = 0
        self.events_lost = 0
        self.prepared: Prepared | None = None
        self.mns = MnsService(Clock(source), self.faults, self.alibaba, self._branch())
        self.oss = OssService(Clock(source), self.faults, self.alibaba, self._announce)
        self.obs = ObsService(Clock(source), self.faults, self.huawei)
        self.oms = OmsService(
            Clock(source), self.faults, self.huawei, self.oss.read, self.obs, seed
        )
        self.admin = AdminService(
            Clock(source),
            self.faults,
            mns=self.mns,
            oss=self.oss,
            oms=self.oms,
            obs=self.obs,
            keys={"alibaba": self.alibaba, "huawei": self.huawei},
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self, ports: Ports | None = None) -> None:
        """Listen with all five ports, or with none: a port in use raises OSError."""
        wanted = ports or Ports()
        try:
            await self.mns.start(wanted.mns)
            await self.oss.start(wanted.oss)
            await self.oms.start(wanted.oms)
            await self.obs.start(wanted.obs)
            await self.admin.start(wanted.admin)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close every port and connection; the contents stay for another `start`."""
        await self.admin.stop()
        await self.mns.stop()
        await self.oss.stop()
        await self.oms.stop()
        await self.obs.stop()

    def prepare(
        self,
        *,
        queue: str = "oss-events",
        source_bucket: str = "source",
        log_bucket: str = "relay-log",
        destination_bucket: str = "destination",
        task_id: str = TASK_ID,
        project_id: str = PROJECT_ID,
        attributes: Attributes | None = None,
        dead_letter_queue: str | None = None,
        max_receive_count: int = 100,
        form: Form = Form.BASE64,
        key_form: KeyForm = KeyForm.RAW,
        consistency_check: Consistency = Consistency.CRC64,
    ) -> Prepared:
        """Make what a relay needs: queue, buckets, the event rule between them, and a sync task.

        The task compares contents, as docs/setup.md recommends; OMS's own default does not.
        With a `dead_letter_queue` the queue gets a policy that moves messages there.
        """
        policy = None
        if dead_letter_queue is not None:
            self.mns.create_queue(dead_letter_queue)
            policy = DeadLetterPolicy(dead_letter_queue, max_receive_count)
        self.mns.create_queue(queue, attributes, policy)
        self.oss.create_bucket(source_bucket)
        self.oss.create_bucket(log_bucket)
        self.obs.create_bucket(destination_bucket)
        self.oss.rules.append(EventRule(source_bucket, queue, form=form, key_form=key_form))
        self.oms.create_task(
            task_id,
            project_id,
            source_bucket,
            destination_bucket,
            consistency_check=consistency_check,
        )
        self.prepared = Prepared(
            queue, dead_letter_queue, source_bucket, log_bucket, destination_bucket, task_id
        )
        return self.prepared

    def settings(self, *, with_destination: bool = False) -> dict[str, str]:
        """Return the environment of a relay for what was prepared last; start the cloud first.

        With `with_destination` the relay is told where OBS is, to look what arrived.
        """
        if self.prepared is None:
            raise RuntimeError("nothing is prepared: call prepare() before settings()")
        prepared = self.prepared
        named = {
            "MNS_ENDPOINT": self.mns.url,
            "MNS_QUEUE": prepared.queue,
            "OSS_ENDPOINT": self.oss.url,
            "OSS_REGION": self.oss.buckets[prepared.log_bucket].region,
            "LOG_BUCKET": prepared.log_bucket,
            "ALIBABA_CLOUD_ACCESS_KEY_ID": ALIBABA.access_key,
            "ALIBABA_CLOUD_ACCESS_KEY_SECRET": ALIBABA.secret,
            "SYNC_URL": self.oms.events_url(prepared.task_id),
            "HW_AK": HUAWEI.access_key,
            "HW_SK": HUAWEI.secret,
        }
        if prepared.dead_letter_queue is not None:
            named["MNS_DEAD_LETTER_QUEUE"] = prepared.dead_letter_queue
        if with_destination:
            named["OBS_ENDPOINT"] = self.obs.url
        return named

    def _branch(self) -> random.Random:
        """Return a generator of its own, so that one service's calls do not shift another's."""
        return random.Random(self.rng.getrandbits(64))  # noqa: S311  as above

    def _announce(self, queue: str, body: str) -> None:
        # OSS notifies at best effort: an object is stored even if its event reaches no queue.
        try:
            self.mns.publish(queue, body)
        except MnsError:
            self.events_lost += 1
        else:
            self.events_announced += 1
