from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

import pytest
from huaweicloudsdkcore.auth.credentials import BasicCredentials
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from worker.clouds.oms_signature import (
    HuaweiCredentials,
    canonical_request,
    format_date,
    sign,
    string_to_sign,
)

FILE = json.loads(Path(__file__).with_name("signer_vectors.json").read_text(encoding="utf-8"))
KEY = HuaweiCredentials(FILE["ak"], FILE["sk"])
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
DATE = "20260102T030405Z"
EVENTS = "https://oms.cn-north-4.myhuaweicloud.com/v2/p/sync-tasks/t/events"

Vector = dict[str, Any]


def wire_url(vector: Vector) -> str:
    path = quote(vector["path"], safe="/%")
    query = "&".join(
        f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in vector["query"]
    )
    return f"{vector['scheme']}://{vector['host']}{path}" + (f"?{query}" if query else "")


def credentials_for(vector: Vector) -> HuaweiCredentials:
    return HuaweiCredentials(FILE["ak"], FILE["sk"], vector["headers"].get("X-Security-Token", ""))


def sign_vector(vector: Vector) -> dict[str, str]:
    body = vector["body"].encode()
    return sign(
        vector["method"], wire_url(vector), vector["headers"], body, credentials_for(vector), AT
    )


def named(name: str) -> Vector:
    (found,) = [entry for entry in FILE["disagreements"] if entry["name"] == name]
    return dict(found)


def ids(vector: Vector) -> str:
    return str(vector["name"])


@pytest.mark.parametrize("vector", FILE["vectors"], ids=ids)
def test_every_vector_gets_its_authorization(vector: Vector) -> None:
    signed = sign_vector(vector)
    assert signed["Authorization"] == vector["expected"]["authorization"]
    assert signed["Host"] == vector["host"]
    assert signed["X-Sdk-Date"] == vector["x_sdk_date"]


@pytest.mark.parametrize("vector", FILE["vectors"], ids=ids)
def test_every_vector_gets_its_canonical_request_and_string_to_sign(vector: Vector) -> None:
    headers = {name.lower(): value for name, value in sign_vector(vector).items()}
    signed = {name: headers[name] for name in vector["expected"]["signed_headers"].split(";")}
    url = URL(wire_url(vector), encoded=True)
    request = canonical_request(vector["method"], url, signed, vector["body"].encode())
    assert request == vector["expected"]["canonical_request"]
    assert string_to_sign(request, vector["x_sdk_date"]) == vector["expected"]["string_to_sign"]


def test_there_are_fourteen_vectors() -> None:
    assert len(FILE["vectors"]) == 14


def test_a_body_that_is_not_json_is_hashed_all_the_same() -> None:
    """The gateway hashes the body unless a header declares otherwise; the SDK would declare it."""
    vector = named("D1_non_json_content_type")
    assert sign_vector(vector)["Authorization"] == vector["reference_authorization"]


def test_a_header_name_with_underscore_is_sent_but_not_signed() -> None:
    """The gateway checks only what SignedHeaders names, and proxies drop such headers."""
    vector = named("D2_header_name_with_underscore")
    signed = sign_vector(vector)
    assert signed["Authorization"] == vector["core_authorization"]
    assert signed["x_custom"] == "1"


def test_a_declared_content_hash_counts_only_with_a_body() -> None:
    vector = named("D3_content_sha256_header_with_empty_body")
    assert sign_vector(vector)["Authorization"] == vector["core_authorization"]


def test_the_case_of_a_header_name_does_not_matter() -> None:
    vector = named("D4_lowercase_content_type_key_non_json")
    assert sign_vector(vector)["Authorization"] == vector["core_authorization"]


TOKEN_TEXT = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-", min_size=1)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LINE_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=20)
HEADERS = st.dictionaries(st.builds("X-Test-{}".format, TOKEN_TEXT), LINE_TEXT, max_size=4).filter(
    lambda headers: len({name.lower() for name in headers}) == len(headers)
)
CONTENT_TYPES = st.sampled_from(["application/json", "application/json;charset=utf-8", None])


def by_the_sdk(
    method: str,
    path: str,
    query: list[tuple[str, str]],
    headers: dict[str, str],
    body: bytes,
) -> str:
    request = SdkRequest(
        method=method,
        schema="https",
        host="oms.cn-north-4.myhuaweicloud.com",
        resource_path=path,
        query_params=list(query),
        header_params=headers | {"X-Sdk-Date": DATE},
        body=body,
    )
    signed = Signer(BasicCredentials(FILE["ak"], FILE["sk"])).sign(request)
    return str(signed.header_params["Authorization"])


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "patch"]),
    segments=st.lists(ANY_TEXT, max_size=6),
    query=st.lists(st.tuples(ANY_TEXT, ANY_TEXT), max_size=5),
    headers=HEADERS,
    content_type=CONTENT_TYPES,
    token=st.sampled_from(["", "TOKEN+/=="]),
    body=st.binary(max_size=200),
)
def test_the_sdk_signs_the_same(
    method: str,
    segments: list[str],
    query: list[tuple[str, str]],
    headers: dict[str, str],
    content_type: str | None,
    token: str,
    body: bytes,
) -> None:
    if content_type is not None:
        headers = headers | {"Content-Type": content_type}
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    search = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in query)
    url = f"https://oms.cn-north-4.myhuaweicloud.com{path}?{search}"
    ours = sign(
        method, url, headers, body, HuaweiCredentials(KEY.access_key, KEY.secret, token), AT
    )
    with_token = headers | ({"X-Security-Token": token} if token else {})
    assert ours["Authorization"] == by_the_sdk(method, path, query, with_token, body)


@given(at=st.integers(0, 4_000_000_000))
def test_an_epoch_and_a_datetime_are_the_same_instant(at: int) -> None:
    aware = datetime.fromtimestamp(at, UTC)
    assert format_date(at) == format_date(at + 0.9) == format_date(aware)
    assert format_date(aware) == aware.strftime("%Y%m%dT%H%M%SZ")


def test_a_naive_datetime_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        format_date(AT.replace(tzinfo=None))


def test_a_relative_url_is_refused() -> None:
    with pytest.raises(ValueError, match="absolute"):
        sign("POST", "/v2/p/sync-tasks/t/events", {}, b"", KEY, AT)


def test_one_header_in_two_cases_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        sign("POST", EVENTS, {"X-A": "1", "x-a": "2"}, b"", KEY, AT)


def test_signing_signed_headers_again_is_the_same_as_signing_once() -> None:
    once = sign("POST", EVENTS, {"Content-Type": "application/json"}, b"{}", KEY, AT)
    stale = sign("POST", EVENTS, {"Content-Type": "application/json"}, b"{}", KEY, 0.0)
    lower = {name.lower(): value for name, value in stale.items() if name != "Content-Type"}
    again = sign("POST", EVENTS, {"Content-Type": "application/json"} | lower, b"{}", KEY, AT)
    assert again == once


def test_headers_of_the_connection_are_kept_but_not_signed() -> None:
    signed = sign("POST", EVENTS, {"Content-Length": "2", "Connection": "close"}, b"{}", KEY, AT)
    assert signed["Content-Length"] == "2"
    assert "SignedHeaders=host;x-sdk-date," in signed["Authorization"]


def test_a_url_object_and_its_text_sign_alike() -> None:
    text = EVENTS + "?a=x%20y&b=%2B&c=+"
    assert sign("GET", text, {}, b"", KEY, AT) == sign(
        "GET", URL(text, encoded=True), {}, b"", KEY, AT
    )


def test_a_parameter_without_a_value_signs_as_an_empty_one() -> None:
    assert sign("GET", EVENTS + "?a&&b=", {}, b"", KEY, AT) == sign(
        "GET", EVENTS + "?b=&a=", {}, b"", KEY, AT
    )


def test_the_arguments_are_left_as_they_were() -> None:
    headers = {"Content-Type": "application/json", "X-Sdk-Date": "old", "X-Project-Id": " p "}
    frozen: Mapping[str, str] = MappingProxyType(headers)
    before = dict(headers)
    signed = sign("POST", EVENTS, frozen, b"{}", KEY, AT)
    assert headers == before
    assert signed is not headers


def test_threads_get_what_one_caller_gets() -> None:
    headers = {"Content-Type": "application/json"}

    def one(number: int) -> dict[str, str]:
        return sign("POST", EVENTS, headers, b"%d" % number, KEY, float(number))

    sequential = [one(number) for number in range(2000)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(2000))) == sequential


def test_no_secret_shows_in_the_repr() -> None:
    shown = repr(HuaweiCredentials("AK", "very-secret", "very-token"))
    assert "AK" in shown
    assert "very" not in shown
