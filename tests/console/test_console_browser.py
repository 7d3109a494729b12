from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.keys import Keys

from harness.browser import Browser, Stage, browsing, needs_browser, staged
from harness.ops import DAY, bodies, message_id, put_letter
from localcloud.cloud import LocalCloud

pytestmark = needs_browser

LETTERS = 6
LETTER = f"/letters/dead_letter/rejected/{DAY}/{message_id(1)}"
EVIL = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\'"><b>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture
def stage(browser: Browser) -> Iterator[Stage]:
    with staged() as stage:
        stage.within(put_letters)
        browser.open(stage.link)
        yield stage
    browser.open("about:blank")
    browser.complaints()


def put_letters(cloud: LocalCloud) -> None:
    for number in range(LETTERS):
        put_letter(cloud, number)
    put_letter(cloud, 9, cause="undecodable", error="no event")


def test_the_first_tab_skips_to_the_content_and_focus_is_seen(
    stage: Stage, browser: Browser
) -> None:
    browser.open(f"{stage.url}/letters")
    browser.press(Keys.TAB)
    assert browser.focused() == "#main"
    outline = (
        "const s = getComputedStyle(document.activeElement); return s.outlineStyle + s.outlineWidth"
    )
    assert browser.script(outline) == "solid3px"
    assert browser.script("return document.activeElement.getBoundingClientRect().top") >= 0
    browser.press(Keys.ENTER)
    assert browser.focused() == "main"
    browser.press(Keys.TAB)
    assert browser.focused() == "/letters?new=1"


def test_tab_goes_through_a_page_in_the_order_in_which_it_is_read(
    stage: Stage, browser: Browser
) -> None:
    browser.open(f"{stage.url}/letters")
    seen = []
    for _ in range(22):
        browser.press(Keys.TAB)
        seen.append(browser.focused())
    pages = ["/", "/letters", "/letters?place=archived", "/operations", "/search"]
    assert seen[:9] == ["#main", "/", *pages, "中文", "Sign out"]
    assert seen[9:15] == ["/letters?new=1", "cause", "key", "since", "until", "Filter"]
    assert seen[15:17] == ["/letters?sort=newest", "/letters?sort=cause"]
    assert [each.startswith("/letters/list?cause=") for each in seen[17:19]] == [True, True]
    assert seen[19:21] == ["action", "action"]


def test_the_buttons_wait_for_a_choice_and_say_how_many_letters_it_is(
    stage: Stage, browser: Browser
) -> None:
    browser.open(f"{stage.url}/letters/list?cause=rejected")
    states = (
        "return [...document.querySelectorAll('[data-choosing] button[name=action]')]"
        ".map((each) => each.disabled)"
    )
    count = "return document.querySelector('[data-chosen-count]').textContent"
    assert (browser.script(states), browser.script(count)) == ([True, True], "0")
    browser.find("#all").click()
    assert (browser.script(states), browser.script(count)) == ([False, False], str(LETTERS))
    browser.find("#all").click()
    assert (browser.script(states), browser.script(count)) == ([True, True], "0")


def test_a_chart_tells_its_values_to_the_keys_and_as_a_table(
    stage: Stage, browser: Browser
) -> None:
    browser.open(stage.url)
    dead = "#day-title ~ .charts .chart:last-child"
    told = f"return document.querySelector('{dead} .plot').getAttribute('aria-valuetext')"
    points = f"return document.querySelector('{dead} .plot').dataset.points.length > 2"
    browser.until(lambda: browser.script(points), "the letters of two weeks")
    browser.script(f"document.querySelector('{dead} .plot').focus()")
    last = browser.script(told)
    assert re.match(r"\d{4}-\d\d-\d\d", last)
    browser.press(Keys.ARROW_LEFT)
    before = browser.script(told)
    assert before < last, "an earlier day"
    browser.press(Keys.END)
    assert browser.script(told) == last
    browser.script(f"document.querySelector('{dead} .values').open = true")
    rows = f"return document.querySelectorAll('{dead} tbody tr').length"
    browser.until(lambda: browser.script(rows) == 14, "two weeks as a table")
    assert browser.complaints() == []


def test_a_time_stands_beside_utc(stage: Stage, browser: Browser) -> None:
    browser.command("Emulation.setTimezoneOverride", timezoneId="Asia/Shanghai")
    try:
        browser.open(stage.url + LETTER)
        beside = browser.script("return document.querySelector('time + .beside').textContent")
        assert re.search(r"ago|in ", beside)
        assert "GMT+8" in beside
    finally:
        browser.command("Emulation.setTimezoneOverride", timezoneId="UTC")


def test_a_letter_is_found_and_redriven_by_keyboard_alone(stage: Stage, browser: Browser) -> None:
    browser.open(stage.url)
    browser.press("g", "d")
    browser.until_at("/letters")
    browser.press("j", "j", "k")
    browser.press(Keys.ENTER)
    browser.until_at("/letters/list")
    browser.press("j", "j")
    browser.press(Keys.ENTER)
    browser.until_at(LETTER)
    while browser.focused() != "action":
        browser.press(Keys.TAB)
    browser.press(Keys.ENTER)
    browser.until_at("/operations/1")
    assert "1 letter would be moved. Nothing was changed." in browser.text()
    while "Redrive now" not in browser.focused():
        browser.press(Keys.TAB)
    browser.press(Keys.ENTER)
    browser.until_at("/operations/2")
    browser.until(lambda: "No letter is left." in browser.text(), "the account")
    assert stage.within(bodies) == ["body 1"]


def test_shortcuts_keep_out_of_fields_and_can_be_turned_off(stage: Stage, browser: Browser) -> None:
    browser.open(f"{stage.url}/letters")
    browser.press("/")
    assert browser.focused() == "key"
    browser.press("g", "o", "?")
    assert browser.find("input[name=key]").get_attribute("value") == "go?"
    browser.find("h1").click()
    browser.press("?")
    assert browser.script("return document.getElementById('shortcuts').open")
    assert "next row" in browser.text("footer")
    browser.find("#shortcuts-on").click()
    browser.open(f"{stage.url}/letters")
    browser.press("j")
    assert browser.focused() != "j"
    assert not browser.script("return document.activeElement.matches('a.row')")
    browser.press("?")
    browser.find("#shortcuts summary").click()
    browser.find("#shortcuts-on").click()
    browser.press("g", "s")
    browser.until_at("/search")


def test_keys_and_bodies_are_copied(stage: Stage, browser: Browser) -> None:
    browser.open(stage.url + LETTER)
    origin = stage.url.rstrip("/")
    browser.command(
        "Browser.grantPermissions",
        origin=origin,
        permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
    )
    browser.find("[data-copy=key-1]").send_keys(Keys.ENTER)
    browser.until(lambda: "Copied" in browser.text(".keylist"), "the word that it is copied")
    assert browser.script("return navigator.clipboard.readText()") == "photos/1.jpg"


def test_progress_is_live_and_an_operation_is_stopped(stage: Stage, browser: Browser) -> None:
    browser.open(f"{stage.url}/letters?cause=rejected")
    browser.find("button[value=redrive]").click()
    browser.until_at("/operations/1")
    browser.find("input[value=all]").click()
    browser.find("input[name=rate]").send_keys("1.5")
    browser.find("form.act button").click()
    browser.until_at("/operations/2")
    browser.script("window.isSamePage = true")
    before = browser.text("[data-fill=progress]")
    assert re.fullmatch(r"\d of 6 letters", before)
    browser.until(lambda: browser.text("[data-fill=progress]") != before, "a letter more")
    assert browser.script("return window.isSamePage"), "without loading the page again"
    assert browser.script("return document.querySelector('progress').max") == LETTERS
    browser.find("button.danger").click()
    browser.until(lambda: "Stopped before the end" in browser.text(), "the stop")
    sent = len(stage.within(bodies))
    assert 0 < sent < LETTERS
    assert f"{LETTERS - sent} letter" in browser.text(".account")


def test_the_overview_lives_pauses_and_rests_while_nobody_sees_it(
    stage: Stage, browser: Browser
) -> None:
    browser.open(stage.url)

    def polls() -> int:
        return int(browser.script("return document.getElementById('live').dataset.polls || 0"))

    def looks() -> int:
        return len(stage.console.here.watch.moments)

    def rest() -> None:
        """Wait for two looks at the workers: as long as two polls would take."""
        before = looks()
        browser.until(lambda: looks() >= before + 2, "two looks at the workers")

    browser.until(lambda: polls() > 1, "two polls")
    assert "No worker answers at http://127.0.0.1:9." in browser.text()
    browser.until(lambda: "6 rejected" in browser.text(".causes"), "the first look")
    browser.press("p")
    assert browser.find("#pause").get_attribute("aria-pressed") == "true"
    before = polls()
    rest()
    assert polls() <= before + 1, "one may have been under way"
    browser.press("p")
    browser.until(lambda: polls() > before + 1, "it goes on")
    hide = (
        "Object.defineProperty(document, 'hidden', {configurable: true, get: () => arguments[0]});"
    )
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    browser.script(f"const is = arguments[0]; {hide.replace('arguments[0]', 'is')} {tell}", True)
    before = polls()
    rest()
    assert polls() <= before + 1
    browser.script(f"const is = arguments[0]; {hide.replace('arguments[0]', 'is')} {tell}", False)
    browser.until(lambda: polls() > before + 1, "it goes on when it is seen again")


def test_a_console_that_does_not_answer_is_said_so_and_comes_back(
    stage: Stage, browser: Browser
) -> None:
    browser.open(stage.url)
    offline = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    headline = "[data-fill='headline.text']"
    browser.until(lambda: "6 rejected" in browser.text(".causes"), "the first look")
    browser.command("Network.enable")
    browser.command("Network.emulateNetworkConditions", offline=True, **offline)
    try:
        browser.until(lambda: "does not answer" in browser.text(headline), "the loss")
        assert "6 rejected" in browser.text(".causes"), "what was seen last stays"
    finally:
        browser.command("Network.emulateNetworkConditions", offline=False, **offline)
    browser.until(lambda: "No worker answers" in browser.text(headline), "the return")


def test_everything_can_be_read_and_done_without_scripts(stage: Stage, browser: Browser) -> None:
    browser.command("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(stage.url)
        assert "Reload it to see the present." in browser.text()
        browser.open(f"{stage.url}/letters/list?cause=rejected")
        browser.find("tbody input[type=checkbox]").click()
        browser.find(".panel button[value=archive]").click()
        browser.until(lambda: "1 letter would be moved" in browser.text(), "the dry run")
        browser.find("form.act button").click()
        browser.until(lambda: "No letter is left." in browser.text(), "the account")
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)


def test_nothing_in_a_letter_runs(stage: Stage, browser: Browser) -> None:
    stage.within(
        lambda cloud: put_letter(
            cloud, 1, error=EVIL, keys=[{"key": EVIL, "error": EVIL + "!"}], body=EVIL, worker=EVIL
        )
    )
    for path in ("/letters", "/letters/list", LETTER, "/operations"):
        browser.open(stage.url + path)
        assert browser.script("return window.hacked") is None
        assert (
            browser.script("return document.querySelectorAll('main img, main script').length") == 0
        )
    browser.open(stage.url + LETTER)
    assert EVIL in browser.text("h1")
    assert browser.complaints() == []


def test_the_token_is_asked_for_once(browser: Browser) -> None:
    with staged(token="correct-horse-battery-staple") as stage:
        browser.open(stage.url)
        browser.until_at("/login")
        browser.find("input[name=token]").send_keys("wrong", Keys.ENTER)
        browser.until(lambda: "This is not the token." in browser.text(), "the refusal")
        browser.find("input[name=token]").send_keys("correct-horse-battery-staple", Keys.ENTER)
        browser.until(lambda: "Overview" in browser.text(), "the overview")
        assert browser.script("return document.cookie") == ""
        browser.find("form[action='/logout'] button").click()
        browser.until_at("/login")
