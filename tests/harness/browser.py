"""A real browser without a screen, and a console that serves from a thread of its own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from harness.site import TOKEN, Site, site
from localcloud.cloud import LocalCloud
from worker.clock import SystemClock

T = TypeVar("T")

# Both or none: a browser of one version and a driver of another do not work together.
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason="chromium and chromedriver are not installed (apt-get install chromium chromium-driver)",
)
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)
LIMIT_SECONDS = 60.0


@dataclass(slots=True)
class Stage:
    """A cloud and a console in another thread; `within` runs something there."""

    cloud: LocalCloud
    console: Site
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        return self.console.url

    @property
    def link(self) -> str:
        """The address that signs in."""
        return f"{self.url}/open?token={TOKEN}"

    def within(self, act: Callable[[LocalCloud], T]) -> T:
        """Change or read the cloud in its own thread."""

        async def there() -> T:
            return act(self.cloud)

        return asyncio.run_coroutine_threadsafe(there(), self.loop).result(LIMIT_SECONDS)


@contextmanager
def staged(**options: Any) -> Iterator[Stage]:
    """Serve a console for a freshly prepared cloud."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stage")
    thread.start()
    stack = AsyncExitStack()

    async def open_all() -> Stage:
        cloud = await stack.enter_async_context(LocalCloud(seed=1))
        cloud.prepare()
        opened = site(cloud, clock=SystemClock(), watches=True, **options)
        return Stage(cloud, await stack.enter_async_context(opened), loop)

    try:
        yield asyncio.run_coroutine_threadsafe(open_all(), loop).result(LIMIT_SECONDS)
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT_SECONDS)
        loop.close()


class Browser:
    """What a person at a keyboard does and sees."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "main") -> str:
        """What is read there; nothing while one page makes way for the next."""
        found = self.script("return document.querySelector(arguments[0])?.innerText", selector)
        return str(found or "")

    def script(self, text: str, *arguments: Any) -> Any:
        return self.driver.execute_script(text, *arguments)

    def press(self, *keys: str) -> None:
        """Press one key after the other, wherever the focus is."""
        chain = ActionChains(self.driver)
        for key in keys:
            chain.send_keys(key)
        chain.perform()

    def focused(self) -> str:
        """What has the focus, as a reader would name it."""
        return str(
            self.script(
                "const e = document.activeElement; if (e === document.body) return 'body';"
                "return e.id || e.name || e.getAttribute('href') || e.innerText.trim() || e.tagName"
            )
        )

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until the condition holds."""
        deadline = time.monotonic() + LIMIT_SECONDS
        while not condition():
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.text('body')}"
            threading.Event().wait(0.02)

    def until_at(self, path: str) -> None:
        """Wait until the page of that path is shown."""
        self.until(lambda: path in self.driver.current_url and self._is_loaded(), path)

    def command(self, name: str, **arguments: Any) -> Any:
        """Speak to the browser itself, through its developer protocol."""
        return self.driver.execute_cdp_cmd(name, arguments)

    def complaints(self) -> list[str]:
        """What the browser complained about since the last time: blocked scripts, styles, errors."""
        lines: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [line["message"] for line in lines if line["level"] in ("SEVERE", "WARNING")]

    def _is_loaded(self) -> bool:
        return bool(self.script("return document.readyState === 'complete'"))


@contextmanager
def browsing(language: str = "en-US") -> Iterator[Browser]:
    """Start a browser that has never seen anything, and end it for certain."""
    options = ChromeOptions()
    options.binary_location = str(BROWSER)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for argument in (*ARGUMENTS, f"--user-data-dir={folder}"):
            options.add_argument(argument)
        # Both paths are given, so that selenium looks for no driver and fetches none.
        driver = Chrome(options=options, service=ChromeService(executable_path=str(DRIVER)))
        try:
            yield Browser(driver)
        finally:
            driver.quit()
