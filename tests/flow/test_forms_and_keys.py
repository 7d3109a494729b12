"""Every form an event may have and every odd key, from the source bucket to the destination."""

from __future__ import annotations

import pytest

from harness import account
from harness.relay import relaying
from localcloud.cloud import LocalCloud
from localcloud.oss import Form, KeyForm

ODD_KEYS = (
    "plain.txt",
    "照片/二〇二六/a b.jpg",
    "🎉/👩‍👩‍👧.png",
    " leading and trailing ",
    "a+b",
    "a b",
    "%41",
    "A",
    "100%",
    "%E4%B8",
    "a%2Fb",
    "a//b///c",
    "a/../b",
    "..",
    ".",
    "dir/",
    "?query=1&x#fragment",
    "quote'\"<&>\\",
    "\t\n\r\x01\x7f",
    "e\u0301 and é",
    "x" * 1023,
    "文" * 341,
)


@pytest.mark.parametrize("key_form", KeyForm)
@pytest.mark.parametrize("form", Form)
async def test_every_key_arrives_in_every_form(
    cloud: LocalCloud, form: Form, key_form: KeyForm
) -> None:
    cloud.prepare(form=form, key_form=key_form)
    for number, key in enumerate(ODD_KEYS):
        cloud.oss.put("source", key, f"content {number}".encode())
    assert cloud.events_lost == 0
    async with relaying(cloud) as relay:
        await relay.settle()
    account.check(cloud, set(ODD_KEYS))
    assert not account.dead_letters(cloud, "undecodable")
