from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import oss2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oss2 import auth

from worker.clouds.credentials import AlibabaCredentials
from worker.clouds.oss_signature import sign

AT = datetime(2026, 11, 24, 7, 30, 15, tzinfo=UTC)


class Signable:
    """What oss2's signer reads and writes of a request."""

    product = "oss"
    cloudbox_id = None

    def __init__(self, method: str, headers: dict[str, str], query: dict[str, str]) -> None:
        self.method = method
        self.headers = headers
        self.params = query
        self.region = "cn-hangzhou"


class Provider:
    def __init__(self, credentials: AlibabaCredentials) -> None:
        self._credentials = credentials

    def get_credentials(self) -> AlibabaCredentials:
        return self._credentials


@pytest.fixture(autouse=True)
def _same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    class Then(datetime):
        @classmethod
        def utcnow(cls) -> Any:
            return AT.replace(tzinfo=None)

    monkeypatch.setattr(auth, "datetime", Then)


def by_oss2(
    method: str,
    resource: tuple[str, str],
    query: dict[str, str],
    headers: dict[str, str],
    token: str,
) -> dict[str, str]:
    request = Signable(method, dict(headers), dict(query))
    credentials = AlibabaCredentials("AK", "SK", token)
    oss2.ProviderAuthV4(Provider(credentials))._sign_request(request, *resource)
    return request.headers


keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
texts = st.text("abcXYZ019 +/%~-_.é中", max_size=12)


@pytest.mark.usefixtures("_same_time")
@given(
    method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE", "POST"]),
    key=keys,
    query=st.dictionaries(
        st.sampled_from(["prefix", "list-type", "max-keys", "x y"]), texts, max_size=3
    ),
    headers=st.dictionaries(
        st.sampled_from(["content-type", "content-md5", "x-oss-meta-a", "x-oss-acl", "accept"]),
        st.text("abc/=+;019", max_size=10),
        max_size=4,
    ),
    token=st.sampled_from(["", "token+/="]),
)
def test_signatures_equal_those_of_oss2(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], token: str
) -> None:
    before = copy.deepcopy((query, headers))
    scope = (AlibabaCredentials("AK", "SK", token), "cn-hangzhou")
    signed = sign(method, f"/bucket/{key}", query, headers, scope, AT.timestamp())
    assert signed == by_oss2(method, ("bucket", key), query, headers, token)
    assert (query, headers) == before


def test_another_day_secret_or_region_makes_another_signature() -> None:
    def signature(secret: str, region: str, at: float) -> str:
        scope = (AlibabaCredentials("AK", secret), region)
        return sign("GET", "/b/k", {}, {}, scope, at)["authorization"]

    made = {
        signature(secret, region, at)
        for secret in ("one", "two")
        for region in ("cn-hangzhou", "cn-beijing")
        for at in (AT.timestamp(), AT.timestamp() + 86_400)
    }
    assert len(made) == 8
