"""The relay's OBS client against the local OBS, which the official SDK is held against (test_obs_sdk.py)."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from localcloud.clock import Clock as CloudClock
from localcloud.faults import Faults
from localcloud.identity import HUAWEI, Identities, Identity
from localcloud.obs.service import ObsService
from worker.clock import SystemClock
from worker.clouds.http import open_session
from worker.clouds.obs import ObsClient
from worker.clouds.oms_signature import HuaweiCredentials
from worker.errors import Blame, CallFailed

TEMPORARY = Identity("TEMPORARY", "temporary-secret", security_token="token+/= :")
HARD = ["a/../b", "//", "中文 a+b%41~.txt", "line\nbreak", "\x01", "🙂/", "a&b?c=d#e", "x" * 1000]


@pytest.fixture
async def service() -> AsyncIterator[ObsService]:
    served = ObsService(CloudClock(), Faults(random.Random(1)), Identities(HUAWEI, TEMPORARY))
    served.create_bucket("dest")
    await served.start()
    yield served
    await served.stop()


@asynccontextmanager
async def connected(service: ObsService, identity: Identity = HUAWEI) -> AsyncIterator[ObsClient]:
    key = HuaweiCredentials(identity.access_key, identity.secret, identity.security_token)
    async with open_session(connections=4, total_seconds=20) as session:
        yield ObsClient(service.url, lambda: key, session, SystemClock())


@pytest.mark.parametrize("header", ["x-obs-hash-crc64ecma", "x-obs-checksum-crc64ecma", ""])
@pytest.mark.parametrize("identity", [HUAWEI, TEMPORARY], ids=["key", "temporary key"])
async def test_hard_names_are_looked_at(
    service: ObsService, identity: Identity, header: str
) -> None:
    service.behaviour.crc64_header = header
    async with connected(service, identity) as client:
        for name in HARD:
            stored = service.write("dest", name, b"123456789")
            found = await client.facts("dest", name)
            assert found is not None
            assert (found.size, found.etag) == (9, stored.etag)
            assert found.crc64 == (11051210869376104954 if header else None)
            assert abs(found.last_modified - stored.modified_at) < 1.0
        assert await client.facts("dest", "no such name") is None


async def test_hard_names_are_listed_page_by_page(service: ObsService) -> None:
    for name in HARD:
        service.write("dest", name, b"x")
    async with connected(service) as client:
        pages = [page async for page in client.list("dest", keys_max=3)]
        rest = [page async for page in client.list("dest", start_after="a/../b")]
        below = [page async for page in client.list("dest", delimiter="/")]
    assert [each.key for page in pages for each in page.objects] == sorted(HARD, key=str.encode)
    assert len(pages) == 3
    assert "a/../b" not in [each.key for page in rest for each in page.objects]
    assert below[0].prefixes == ("/", "a/", "🙂/")


async def test_a_long_object_is_read_on(service: ObsService) -> None:
    data = b"0123456789" * 200_000
    service.write("dest", "list.txt", data)
    async with connected(service) as client:
        found = b""
        while part := await client.read("dest", "list.txt", len(found)):
            found += part
        assert found == data
        assert await client.read("dest", "none") == b""


async def test_a_deletion_is_of_one_object_and_may_be_repeated(service: ObsService) -> None:
    service.write("dest", "a b", b"x")
    service.write("dest", "a", b"x")
    async with connected(service) as client:
        await client.delete("dest", "a b")
        await client.delete("dest", "a b")
    assert service.keys("dest") == ["a"]


async def test_a_wrong_secret_is_refused_and_blamed(service: ObsService) -> None:
    async with connected(service, Identity(HUAWEI.access_key, "wrong")) as client:
        with pytest.raises(CallFailed) as looked:
            await client.facts("dest", "k")
        with pytest.raises(CallFailed) as listed:
            await anext(client.list("dest"))
    assert looked.value.failure.blame is Blame.CREDENTIALS
    assert listed.value.failure.code == "SignatureDoesNotMatch"


async def test_a_missing_bucket_is_told_by_the_listing(service: ObsService) -> None:
    async with connected(service) as client:
        with pytest.raises(CallFailed) as raised:
            await anext(client.list("nowhere"))
    assert raised.value.failure.code == "NoSuchBucket"
    assert raised.value.failure.blame is Blame.SERVICE
