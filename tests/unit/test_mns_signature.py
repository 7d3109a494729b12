from __future__ import annotations

from email.utils import formatdate

import pytest

from localcloud.identity import Identities, Identity
from localcloud.mns import MnsError
from localcloud.mns.signature import SKEW_SECONDS, VERSION, sign, verify

NOW = 1_790_000_000.0
WHO = Identity("AK1", "secret")
EMPTY_MD5 = "ZDQxZDhjZDk4ZjAwYjIwNGU5ODAwOTk4ZWNmODQyN2U="
LOG_QUEUE = "/queues/market-process-log/messages"
VERSION_HEADER = {"x-mns-version": VERSION}
JUNE = {"Date": "Tue, 03 Jun 2025 11:23:48 GMT"}


# The vendors' and the community SDKs' own test vectors.
@pytest.mark.parametrize(
    ("secret", "method", "target", "headers", "signature"),
    [
        (
            "t5I8e",
            "POST",
            LOG_QUEUE,
            {
                "Content-MD5": "YTM5OGY1YmYxODRkY2M0YmM1NjU5OGYzYTJkMDMyZGQ=",
                "Content-Type": "application/xml",
                "Date": "Thu, 02 Feb 2023 12:27:22 GMT",
                **VERSION_HEADER,
            },
            "6nhdhorU7xdV6x+P1Tmzyi6A6KY=",
        ),
        (
            "t5I8e",
            "GET",
            LOG_QUEUE + "?waitseconds=30",
            {
                "content-md5": EMPTY_MD5,
                "content-type": "application/xml",
                "date": "Wed, 08 Feb 2023 09:36:03 GMT",
                **VERSION_HEADER,
            },
            "zVO3Buq0YfEW1yLI0SXOaO6guq8=",
        ),
        (
            "3",
            "POST",
            "/queues/test/messages",
            {
                "Content-Type": "text/xml",
                "Date": "Wed, 01 Jan 2020 00:00:00 GMT",
                **VERSION_HEADER,
            },
            "Yzmk08aMkvzpuwF+F4YK1xJefr0=",
        ),
        ("testSk", "GET", "/queues/TestQueue", JUNE, "uDJQXbk2xOhH95MDXmgbAGdtyE4="),
        (
            "sk1",
            "POST",
            "/queues/TestQueue",
            {**JUNE, "X-MNS-abcDEF": "abcDEF"},
            "cAThPWnbphg3hDe3ZHDADTgkgyE=",
        ),
    ],
)
def test_the_signature_is_that_of_the_sdks(
    secret: str, method: str, target: str, headers: dict[str, str], signature: str
) -> None:
    assert sign(secret, method, target, headers) == signature


def signed(**changes: str | None) -> dict[str, str]:
    """Sign a request that would pass, then change or drop headers."""
    headers = {"Date": formatdate(NOW, usegmt=True), "x-mns-version": VERSION}
    headers["Authorization"] = f"MNS {WHO.access_key}:{sign(WHO.secret, 'GET', '/q', headers)}"
    changed = {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in {**headers, **changed}.items() if value is not None}


def verdict(headers: dict[str, str], now: float = NOW, who: Identity = WHO) -> str:
    try:
        return verify("GET", "/q", headers, now, Identities(who)).access_key
    except MnsError as error:
        return error.code


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (signed(), "AK1"),
        (signed(Authorization=None), "MissingAuthorizationHeader"),
        (signed(Authorization="MNS AK1"), "InvalidAuthorizationHeader"),
        (signed(Authorization="OSS AK1:x"), "InvalidAuthorizationHeader"),
        (signed(Authorization="MNS AK1:x"), "SignatureDoesNotMatch"),
        (signed(Authorization="MNS AK1:\udcff"), "SignatureDoesNotMatch"),
        (signed(Authorization="MNS AK2:x"), "InvalidAccessKeyId"),
        (signed(Date=None), "MissingDateHeader"),
        (signed(Date="yesterday"), "InvalidDateHeader"),
        (signed(x_mns_version=None), "MissingVersionHeader"),
        (signed(x_mns_version="2016-01-01"), "InvalidVersionHeader"),
        (signed(x_mns_more="1"), "SignatureDoesNotMatch"),
        (signed(security_token="token"), "InvalidSecurityToken"),
        (signed(x_unsigned="1"), "AK1"),
    ],
)
def test_what_is_wrong_is_named(headers: dict[str, str], expected: str) -> None:
    assert verdict(headers) == expected


@pytest.mark.parametrize("direction", [-1, 1])
def test_fifteen_minutes_of_skew_pass_and_no_more(direction: int) -> None:
    assert verdict(signed(), NOW + direction * SKEW_SECONDS) == "AK1"
    assert verdict(signed(), NOW + direction * (SKEW_SECONDS + 1)) == "TimeExpired"


def test_a_temporary_key_needs_its_token() -> None:
    temporary = Identity("AK1", "secret", security_token="token")
    assert verdict(signed(security_token="token"), who=temporary) == "AK1"
    assert verdict(signed(), who=temporary) == "InvalidSecurityToken"


def test_x_mns_date_stands_in_for_the_date() -> None:
    headers = {"x-mns-date": formatdate(NOW, usegmt=True), "x-mns-version": VERSION}
    headers["Authorization"] = f"MNS AK1:{sign(WHO.secret, 'GET', '/q', headers)}"
    assert verdict(headers) == "AK1"
