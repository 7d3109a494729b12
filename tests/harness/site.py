"""The console as a browser meets it: pages over loopback, cookies kept, forms filled from the page itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import aiohttp

from harness.ops import connected
from harness.relay import free_port
from localcloud.cloud import LocalCloud
from worker.clock import Clock
from worker.console import server
from worker.console.context import Context
from worker.console.options import Options

TOKEN = "a-token-of-the-tests"
CSRF = re.compile(r'name="csrf" value="([^"]+)"')
TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `text` is what a reader sees, without tags."""

    status: int
    html: str
    headers: Mapping[str, str]
    path: str

    @property
    def text(self) -> str:
        return " ".join(unescape(TAG.sub(" ", self.html)).split())


@dataclass(slots=True)
class Site:
    """A console that serves, and a browser without a screen."""

    cloud: LocalCloud
    here: Context
    url: str
    session: aiohttp.ClientSession
    csrf: str = ""
    cookies: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str, **headers: str) -> Answer:
        """Ask for a page; redirects are followed."""
        return await self._ask("GET", path, None, headers, follows=True)

    async def json(self, path: str) -> Any:
        """Ask for values."""
        async with self.session.get(f"{self.url}{path}", headers=self._cookie()) as answer:
            assert answer.status == 200, await answer.text()
            return await answer.json()

    async def post(self, path: str, form: Any = (), **headers: str) -> Answer:
        """Send a form as one of our pages would, and follow where it leads."""
        if not self.csrf:
            await self.get("/")
        pairs = [("csrf", self.csrf), *(form.items() if isinstance(form, dict) else form)]
        given = {"Origin": self.url.rstrip("/")} | headers
        return await self._ask("POST", path, pairs, given, follows=True)

    async def raw(self, method: str, path: str, form: Any = None, **headers: str) -> Answer:
        """Send exactly this, and follow nothing."""
        return await self._ask(method, path, form, headers, follows=False)

    async def run(self, action: str, **form: str) -> Answer:
        """Do a dry run and then the act itself on everything it found."""
        tried = await self.post("/operations", {"action": action, "letters": "filter", **form})
        assert tried.status == 200, tried.text
        return await self.post(f"{tried.path}/act", {"scope": "all"} | form)

    async def ended(self, path: str) -> dict[str, Any]:
        """Wait until an operation has ended; return its account."""
        async with asyncio.timeout(30):
            while True:
                view = await self.json(f"/api{path}")
                if not view["is_running"]:
                    return dict(view)
                await asyncio.sleep(0.01)

    async def _ask(
        self, method: str, path: str, form: Any, headers: Mapping[str, str], *, follows: bool
    ) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.request(
            method,
            f"{self.url}{path}",
            data=form,
            headers=self._cookie() | named,
            allow_redirects=False,
        ) as answer:
            text = await answer.text()
            for name, morsel in answer.cookies.items():
                self.cookies[name] = morsel.value
            found = CSRF.search(text)
            self.csrf = found[1] if found else self.csrf
            if follows and answer.status == 303:
                return await self._ask("GET", answer.headers["Location"], None, {}, follows=True)
            return Answer(answer.status, text, answer.headers, path)

    def _cookie(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())}


@asynccontextmanager
async def site(
    cloud: LocalCloud,
    *,
    clock: Clock | None = None,
    watches: bool = False,
    settings: Mapping[str, str] | None = None,
    route: str = "",
    **options: Any,
) -> AsyncIterator[Site]:
    """Serve a console for what was prepared in the cloud; with `watches` it also looks at the services.

    The browser is signed in, unless a token is given.
    """
    defaults: dict[str, Any] = {
        "port": free_port(),
        "workers": ("http://127.0.0.1:9",),
        "token": TOKEN,
    }
    given = Options(**(defaults | options))
    async with (
        connected(cloud, clock, settings) as opened,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        here = server.make(opened.of_route(route) if route else opened, given)
        async with server.serving(here):
            watching = asyncio.create_task(here.watch.run()) if watches else None
            try:
                found = Site(cloud, here, f"http://127.0.0.1:{given.port}", session)
                if "token" not in options:
                    await found.get(f"/open?token={TOKEN}")
                yield found
            finally:
                if watching is not None:
                    watching.cancel()
                    await asyncio.wait((watching,))
