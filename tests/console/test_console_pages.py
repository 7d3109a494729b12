from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from harness.ops import DAY, put_letter, put_object
from harness.site import site
from localcloud.cloud import LocalCloud
from localcloud.faults import Action, Fault
from worker.console import browse, pages, server

EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
PAGES = ("/", "/letters", "/letters/list", "/letters?place=archived", "/operations", "/search")
CHINESE = {"Accept_Language": "zh-CN,zh;q=0.9,en;q=0.5"}


@pytest.fixture
def cloud(cloud: LocalCloud) -> LocalCloud:
    cloud.prepare()
    return cloud


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("language", ["en", "zh-Hans"])
async def test_every_page_is_served_in_both_languages_without_a_letter(
    cloud: LocalCloud, path: str, language: str
) -> None:
    async with site(cloud) as console:
        answer = await console.get(path, Accept_Language="zh" if language != "en" else "en")
        assert answer.status == 200
        assert f'<html lang="{language}">' in answer.html


async def test_letters_are_grouped_by_cause_and_kind_of_error(cloud: LocalCloud) -> None:
    for number in range(3):
        put_letter(cloud, number)
    put_letter(cloud, 9, cause="undecodable", error="no event")
    async with site(cloud) as console:
        page = await console.get("/letters")
        assert "4 letters" in page.text
        assert page.html.index("cause=rejected&") < page.html.index("cause=undecodable&")
        assert "OMS refuses the key for good." in page.text
        view = await console.json("/api/letters")
        assert view == {"is_running": False, "progress": "4 letters"}


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("cause=undecodable", 1),
        ("key=photos/1", 1),
        ("until=2026-09-21", 0),
        ("since=2026-09-22&until=2026-09-23", 4),
        ("since=1h", 0),
    ],
)
async def test_a_filter_narrows_groups_and_items(cloud: LocalCloud, query: str, count: int) -> None:
    for number in range(3):
        put_letter(cloud, number)
    put_letter(cloud, 9, cause="undecodable", error="no event")
    async with site(cloud) as console:
        page = await console.get(f"/letters?{query}")
        assert f"{count} letter" in page.text
        assert ("No letter meets this filter." in page.text) is (count == 0)
        items = await console.get(f"/letters/list?{query}")
        assert items.html.count('name="id"') == count


async def test_items_come_page_by_page_each_letter_once(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "ITEMS_MAX", 3)
    for number in range(4):
        put_letter(cloud, number)
        put_letter(
            cloud, number + 10, cause="undecodable", keys=[{"key": f"u{number}", "error": ""}]
        )
    async with site(cloud) as console:
        path, seen = "/letters/list", list[str]()
        for _ in range(3):
            page = await console.get(path)
            seen += [part.split('"')[0] for part in page.html.split('name="id" value="')[1:]]
            if 'rel="next"' in page.html:
                path = page.html.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
        assert len(seen) == 8 == len(set(seen))
        assert seen == sorted(seen)
        assert 'rel="next"' not in page.html


async def test_looking_for_rare_letters_ends_and_goes_on_where_it_ended(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "LOOKED_AT_MAX", 4)
    for number in range(6):
        put_letter(cloud, number)
    async with site(cloud) as console:
        page = await console.get("/letters/list?key=photos/5")
        assert "4 letters were looked at and none matches. There are more." in page.text
        path = page.html.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
        assert "photos/5.jpg" in (await console.get(path)).text


async def test_a_letter_shows_its_whole_story(cloud: LocalCloud) -> None:
    event = {"eventName": "ObjectCreated:PutObject", "oss": {"object": {"key": "照片/1.jpg"}}}
    body = base64.b64encode(json.dumps({"events": [event]}).encode()).decode()
    name = put_letter(cloud, 1, body=body, worker="worker-7", attempts=20)
    accepted = {"key": "photos/1.jpg", "outcome": "accepted", "posted_at": f"{DAY}T12:00:00+00:00"}
    put_object(cloud, "success_object/photos/1.jpg", json.dumps(accepted).encode())
    async with site(cloud) as console:
        page = await console.get(f"/letters/{name.removesuffix('.json')}")
        assert page.status == 200
        for text in ("worker worker-7", "after 20 deliveries", "Accepted by OMS", "photos/1.jpg"):
            assert text in page.text
        assert '"key": "照片/1.jpg"' in page.text, "decoded"
        assert body in page.text, "raw"
        assert f"oss://relay-log/{console.here.letters.bucket.root}{name}" in page.text


async def test_a_letter_that_moved_meanwhile_says_where_it_is(cloud: LocalCloud) -> None:
    name = put_letter(cloud, 1)
    path = f"/letters/{name.removesuffix('.json')}"
    async with site(cloud) as console:
        await console.run("archive")
        page = await console.get(path)
        assert page.status == 404
        assert path.replace("dead_letter", "archived") in page.text
        assert (await console.get(path.replace("0001", "0002"))).status == 404
        assert (await console.get("/letters/elsewhere/a/b/c")).status == 404


async def test_a_damaged_letter_is_shown_and_says_so(cloud: LocalCloud) -> None:
    put_object(cloud, f"dead_letter/rejected/{DAY}/M.json", b"\xff{")
    async with site(cloud) as console:
        assert "the letter is damaged" in (await console.get("/letters")).text
        page = await console.get(f"/letters/dead_letter/rejected/{DAY}/M")
        assert "holds no body that could be sent" in page.text


async def test_what_stands_in_letters_cannot_become_markup(cloud: LocalCloud) -> None:
    name = put_letter(
        cloud,
        1,
        error=EVIL,
        keys=[{"key": EVIL, "error": EVIL + "2"}],
        body=EVIL,
        worker=EVIL,
    )
    record = {"key": EVIL, "outcome": EVIL, "posted_at": EVIL, "reason": EVIL, "etag": EVIL}
    put_object(cloud, f"failed_object/{EVIL}", json.dumps(record).encode())
    paths = [
        "/letters",
        "/letters/list",
        f"/letters/{name.removesuffix('.json')}",
        f"/search?key={EVIL}",
        f"/letters?key={EVIL}&cause={EVIL}",
        f"/letters/list?group={EVIL}",
        f"/letters?since={EVIL}",
        f"/{EVIL}",
    ]
    async with site(cloud) as console:
        for path in paths:
            html = (await console.get(path)).html
            assert "<img" not in html, path
            assert "<script>" not in html, path
        page = await console.post("/operations", {"action": "archive", "reason": EVIL, "key": EVIL})
        assert EVIL in page.text
        assert "<img" not in page.html


async def test_a_key_is_found_in_records_logs_and_letters(cloud: LocalCloud) -> None:
    put_letter(cloud, 1)
    now = datetime.now(UTC)
    line = {"key": "photos/1.jpg", "outcome": "accepted", "posted_at": now.isoformat()}
    put_object(cloud, f"log/{now:%Y/%m/%d/%H}/w-1.jsonl", json.dumps(line).encode() + b"\n")
    earlier = now - timedelta(hours=5)
    old = line | {"outcome": "rejected", "reason": "old one"}
    put_object(cloud, f"log/{earlier:%Y/%m/%d/%H}/w-2.jsonl", json.dumps(old).encode())
    failed = line | {"outcome": "rejected", "reason": "refused for good"}
    put_object(cloud, "failed_object/photos/1.jpg", json.dumps(failed).encode())
    async with site(cloud) as console:
        page = await console.get("/search?key=photos/1.jpg&hours=1")
        assert "refused for good" in page.text
        assert "Accepted by OMS" in page.text
        assert "old one" not in page.text
        assert "/letters/dead_letter/rejected/" in page.html
        assert "old one" in (await console.get("/search?key=photos/1.jpg&hours=6")).text
        nothing = await console.get("/search?key=nowhere")
        assert "No record of this key" in nothing.text
        assert (await console.get(f"/search?key={'x' * 2000}")).status == 400


async def test_a_service_that_is_down_makes_a_page_that_says_what_to_do(
    cloud: LocalCloud,
) -> None:
    cloud.faults.add(Fault("oss", "*", Action.STATUS, 403))
    async with site(cloud) as console:
        for path in ("/letters", "/letters/list", "/search?key=a"):
            page = await console.get(path)
            assert page.status == 502, path
            assert "Next: Check LOG_BUCKET" in page.text
        page = await console.get("/letters", **CHINESE)
        assert "请检查 LOG_BUCKET" in page.text


async def test_a_service_that_hangs_is_told_as_one(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "PAGE_SECONDS_MAX", 0.2)
    cloud.faults.add(Fault("oss", "*", Action.LATENCY, seconds=30))
    async with site(cloud) as console:
        page = await console.get("/letters/list")
        assert page.status == 504
        assert "It took too long" in page.text


async def test_a_fault_of_one_page_is_told_and_leaves_the_others(
    cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(pages, "overview", fails)
    async with site(cloud) as console:
        with capture_logs() as lines:
            page = await console.get("/")
        assert page.status == 500
        assert "A fault of the console" in page.text
        assert "secret detail" not in page.html
        assert lines[0]["log_level"] == "critical"
        assert (await console.get("/letters")).status == 200


async def test_the_chosen_language_is_remembered(cloud: LocalCloud) -> None:
    async with site(cloud) as console:
        page = await console.post("/language", {"language": "zh", "back": "/letters?cause=a"})
        assert page.path == "/letters?cause=a"
        assert "死信" in page.text
        assert "概览" in (await console.get("/", Accept_Language="en")).text
        for elsewhere in ("//evil.example", "/\\evil.example", "https://evil.example", "x"):
            page = await console.post("/language", {"language": "en", "back": elsewhere})
            assert page.path == "/", elsewhere


async def test_very_many_groups_are_shown_page_by_page_in_any_order(cloud: LocalCloud) -> None:
    cloud.prepare()
    for number in range(120):
        word = f"{chr(97 + number % 26)}{chr(97 + number // 26)}"
        day = "2026-09-23" if number == 77 else DAY
        put_letter(cloud, number, cause="undecodable", day=day, error=f"failure of {word}")
    put_letter(cloud, 500, error="once")
    async with site(cloud) as console:
        await console.get("/letters")
        first = await console.get("/letters?sort=newest")
        last = await console.get("/letters?sort=cause&page=3")
        odd = await console.get("/letters?sort=colour&page=9999")
    assert "121 groups" in first.text
    assert "Page 1 of 3" in first.text
    assert first.html.count('class="row"') == 50
    assert "failure of zc" in first.html.split('class="row"')[1]
    assert "sort=newest&amp;page=2" in first.html
    assert last.html.count('class="row"') == 21
    assert last.text.count("undecodable") >= 21
    assert "Page 3 of 3" in odd.text


async def test_counting_letters_holds_nothing_else_up(cloud: LocalCloud) -> None:
    cloud.prepare()
    put_letter(cloud, 1)
    async with site(cloud) as console:
        watch = console.here.watch
        await watch.look_at_services()
        assert watch.status is not None
        assert (watch.status.queue is not None, watch.status.dead_letters) == (True, None)
        page = await console.get("/")
        assert "Everything works" not in page.text
        await watch.count_letters()
        await watch.look_at_services()
        assert watch.status.dead_letters == {"rejected": 1}
