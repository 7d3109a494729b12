"""Real processes whose only way out is a proxy: the names of the services resolve nowhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness import account
from harness.certificate import certificate, shown_by
from harness.processes import Supervisor, supervising
from harness.proxy import ALLOWED, SECRET, ForwardProxy, behind_tls, proxying
from localcloud.cloud import LocalCloud

MNS, OMS = "mns.relay.test", "oms.relay.test"
# An address of documentation (RFC 5737): the local OSS takes the bucket in the path only.
OSS = "192.0.2.1"
KEYS = {f"photos/{number}" for number in range(20)}


@dataclass
class Closed:
    """A cloud that only a proxy leads to, and who starts processes there."""

    proxy: ForwardProxy
    supervisor: Supervisor


@asynccontextmanager
async def closed(cloud: LocalCloud, folder: Path) -> AsyncIterator[Closed]:
    file = certificate(folder, days=9, name=MNS, more=(OMS, OSS))
    shown = shown_by(file)
    ports = [int(each.url.rpartition(":")[2]) for each in (cloud.mns, cloud.oss, cloud.oms)]
    async with (
        behind_tls(ports[0], shown) as mns,
        behind_tls(ports[1], shown) as oss,
        behind_tls(ports[2], shown) as oms,
        proxying(
            {f"{MNS}:443": mns, f"{OSS}:443": oss, f"{OMS}:443": oms}, needs_user=True
        ) as proxy,
        supervising(
            cloud,
            MNS_ENDPOINT=f"https://{MNS}",
            OSS_ENDPOINT=f"https://{OSS}",
            SYNC_URL=f"https://{OMS}{urlsplit(cloud.settings()['SYNC_URL']).path}",
            SSL_CERT_FILE=str(file),
            HTTPS_PROXY=proxy.url_with_user,
        ) as supervisor,
    ):
        yield Closed(proxy, supervisor)


@pytest.fixture
def filled(cloud: LocalCloud) -> LocalCloud:
    cloud.prepare()
    for key in KEYS:
        cloud.oss.put("source", key, key.encode())
    return cloud


def assert_nothing_of_the_password_in(printed: list[str]) -> None:
    text = "\n".join(printed)
    assert SECRET not in text
    assert ALLOWED.split()[1] not in text


async def test_a_relay_behind_a_proxy_relays_and_says_so(
    filled: LocalCloud, tmp_path: Path
) -> None:
    async with closed(filled, tmp_path) as here:
        worker = await here.supervisor.start()
        await here.supervisor.drained()
        assert await worker.stop() == 0
    account.check(filled, KEYS)
    (start,) = [line for line in worker.lines if line.get("action") == "start"]
    assert start["proxy"] == f"127.0.0.1:{here.proxy.port}"
    assert set(here.proxy.asked) == {f"CONNECT {host}:443" for host in (MNS, OSS, OMS)}
    assert_nothing_of_the_password_in(worker.printed)


async def test_the_doctor_looks_through_the_proxy(cloud: LocalCloud, tmp_path: Path) -> None:
    cloud.prepare()
    async with closed(cloud, tmp_path) as here:
        worker = await here.supervisor.start("-m", "worker", "doctor", "--json")
        code = await worker.ended()
        checks = {each["name"]: each for each in json.loads("".join(worker.printed))["checks"]}
        here.supervisor.workers.clear()
    assert code == 0, checks
    where = f"through the proxy 127.0.0.1:{here.proxy.port}"
    assert f"calls go {where}" in checks["settings"]["detail"]
    assert all(where in checks[f"{each}.network"]["detail"] for each in ("mns", "oss", "oms"))
    assert_nothing_of_the_password_in(worker.printed)


async def test_a_proxy_that_refuses_the_user_stops_nothing_but_the_calls(
    filled: LocalCloud, tmp_path: Path
) -> None:
    async with closed(filled, tmp_path) as here:
        allowed, here.proxy.needs_user = here.proxy.url_with_user, True
        worker = await here.supervisor.start(HTTPS_PROXY=here.proxy.url)
        await here.supervisor.until(lambda: len(here.proxy.asked) > 3, "calls to the proxy")
        await here.supervisor.until(
            lambda: any("407" in line for line in worker.printed), "a line about it"
        )
        assert account.waiting(filled) == len(KEYS)
        assert await worker.stop() == 0
        told = "\n".join(worker.printed)
        worker = await here.supervisor.start(HTTPS_PROXY=allowed)
        await here.supervisor.drained()
        assert await worker.stop() == 0
    assert "check user and password in HTTPS_PROXY" in told
    assert "HW_AK" not in told
    account.check(filled, KEYS)


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY"])
async def test_a_proxy_that_cannot_be_used_stops_the_start(
    cloud: LocalCloud, name: str, tmp_path: Path
) -> None:
    cloud.prepare()
    async with closed(cloud, tmp_path) as here:
        wrong = {"HTTPS_PROXY": "", name: f"socks5://relay:{SECRET}@127.0.0.1:1", "MNS_QUEUE": "-"}
        worker = await here.supervisor.start(**wrong)
        assert await worker.ended() == 2
        here.supervisor.workers.clear()
    told = "\n".join(worker.printed)
    assert f"  - {name} names a proxy that is not plain http itself" in told
    assert "  - MNS_QUEUE " in told
    assert_nothing_of_the_password_in(worker.printed)
