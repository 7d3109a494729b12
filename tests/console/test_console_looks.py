from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from harness.browser import Browser, Stage, browsing, needs_browser, staged
from harness.ops import DAY, message_id, put_letter
from localcloud.cloud import LocalCloud

pytestmark = needs_browser

LONG_KEY = "folder/" + "x" * 400 + "/" + "照片" * 60 + ".jpg"
LETTER = f"/letters/dead_letter/rejected/{DAY}/{message_id(1)}"
PAGES = (
    "/",
    "/letters",
    "/letters?place=archived",
    "/letters?key=nothing",
    "/letters/list",
    LETTER,
    "/operations",
    "/operations/1",
    "/operations/2",
    "/search",
    f"/search?key={LONG_KEY}",
    "/nowhere",
)

# Each text against what is really behind it, by the formula of WCAG 2.
FAINT = """
const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = (text) => text.match(/[\\d.]+/g).map(Number);
function behind(element) {
  for (let each = element; each; each = each.parentElement) {
    const color = parse(getComputedStyle(each).backgroundColor);
    if (color.length < 4 || color[3] > 0.99) return color;
  }
  return [255, 255, 255];
}
const faint = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || !element.checkVisibility() || element.closest(".hidden, noscript, template")) continue;
  const style = getComputedStyle(element);
  const a = light(parse(style.color)), b = light(behind(element));
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const size = parseFloat(style.fontSize);
  const isLarge = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  if (ratio < (isLarge ? 3 : 4.5)) faint.push(element.outerHTML.slice(0, 120) + " " + ratio.toFixed(2));
}
return faint;
"""
# What a reader of the page by ear needs.
UNNAMED = """
const faults = [];
const named = (e) => e.labels?.length || e.getAttribute("aria-label") || e.getAttribute("aria-labelledby");
for (const e of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
  if (!named(e)) faults.push("without a label: " + e.outerHTML);
}
for (const e of document.querySelectorAll("a, button, summary")) {
  if (!e.textContent.trim() && !e.getAttribute("aria-label")) faults.push("without a name: " + e.outerHTML);
}
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of new Set(ids)) if (ids.filter((e) => e === id).length > 1) faults.push("twice: #" + id);
for (const name of ["aria-labelledby", "aria-describedby", "for", "list"]) {
  for (const e of document.querySelectorAll(`[${name}]`)) {
    if (!document.getElementById(e.getAttribute(name))) faults.push("leads nowhere: " + e.outerHTML);
  }
}
if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
const levels = [...document.querySelectorAll("h1, h2, h3, h4")].map((e) => Number(e.tagName[1]));
levels.forEach((each, i) => i && each > levels[i - 1] + 1 && faults.push("a level is left out"));
if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
if (!document.title || !document.documentElement.lang) faults.push("no title or language");
for (const e of document.querySelectorAll("tbody th")) if (!e.scope) faults.push("th without scope");
return faults;
"""
SMALL = """
return [...document.querySelectorAll("button, input:not([type=hidden]), select, nav li a, summary")]
  .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 19)
  .map((e) => e.outerHTML.slice(0, 99));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as browser:
        yield browser


@pytest.fixture(scope="module")
def stage(browser: Browser) -> Iterator[Stage]:
    with staged() as stage:
        stage.within(put_letters)
        browser.open(stage.link)
        browser.open(f"{stage.url}/letters")
        click(browser, "button[value=redrive]")
        browser.until_at("/operations/1")
        click(browser, "form.act button")
        browser.until_at("/operations/2")
        browser.until(lambda: "left" in browser.text(), "the account")
        stage.within(put_letters)
        yield stage


def click(browser: Browser, selector: str) -> None:
    """Click what is shown only when letters have been read and a dry run has ended."""
    found = "return document.querySelector(arguments[0]) !== null"
    browser.until(lambda: browser.script(found, selector), selector)
    browser.find(selector).click()


def put_letters(cloud: LocalCloud) -> None:
    body = base64.b64encode(json.dumps({"events": [{"key": LONG_KEY}]}).encode()).decode()
    for number in range(1, 4):
        put_letter(cloud, number, keys=[{"key": LONG_KEY, "error": "y" * 300}], body=body * 20)
    put_letter(cloud, 9, cause="undecodable", error="z" * 500)


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest, browser: Browser) -> str:
    feature = {"name": "prefers-color-scheme", "value": request.param}
    browser.command("Emulation.setEmulatedMedia", features=[feature])
    return str(request.param)


@pytest.mark.parametrize("path", PAGES)
def test_every_text_stands_out_from_its_ground(
    stage: Stage, browser: Browser, scheme: str, path: str
) -> None:
    browser.open(stage.url + path)
    assert browser.script("return matchMedia('(prefers-color-scheme: dark)').matches") is (
        scheme == "dark"
    )
    browser.script("document.querySelectorAll('details').forEach((each) => (each.open = true))")
    assert browser.script(FAINT) == []


def test_the_measures_find_what_they_look_for(stage: Stage, browser: Browser) -> None:
    browser.open(f"{stage.url}/search")
    browser.script("document.querySelector('.lead').style = 'color: #777; background: #888'")
    assert len(browser.script(FAINT)) == 1
    browser.script("document.querySelector('label').replaceWith(document.getElementById('search'))")
    assert len(browser.script(UNNAMED)) == 1


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_sound_for_those_who_hear_it(
    stage: Stage, browser: Browser, path: str
) -> None:
    browser.open(stage.url + path)
    assert browser.script(UNNAMED) == []
    complaints = [each for each in browser.complaints() if "404" not in each]
    assert complaints == [], "nothing was blocked and nothing failed"


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("path", PAGES)
def test_a_phone_needs_no_scrolling_sideways(
    stage: Stage, browser: Browser, path: str, language: str
) -> None:
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    browser.command("Emulation.setDeviceMetricsOverride", **phone)
    try:
        browser.open(stage.url + path)
        if browser.script("return document.documentElement.lang.slice(0, 2)") != language:
            browser.find("form[action='/language'] button").click()
            browser.until(
                lambda: browser.script("return document.documentElement.lang").startswith(language),
                "the other language",
            )
        browser.script("document.querySelectorAll('details').forEach((each) => (each.open = true))")
        assert browser.script("return document.documentElement.scrollWidth") <= 360
        assert browser.script(SMALL) == []
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")
