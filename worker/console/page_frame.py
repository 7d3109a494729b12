"""Around every request: the visitor's language and session, strict headers, pages for what goes wrong."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import jinja2
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from worker.console import words
from worker.console.options import Options
from worker.console.sessions import Sessions
from worker.console.words import Words
from worker.errors import CallFailed
from worker.observe.journal import bounded

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Without it a browser hides the origin of our own forms: `no-referrer` would send `Origin: null`.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "oms-relay",
}
LANGUAGE_COOKIE = "relay_console_language"
STATIC = ("console.css", "console.js", "icon.svg")


class Refused(Exception):  # noqa: N818  an answer, not a fault of the console
    """The request is not served; `key` names the texts `refused.<key>.title`, `.text` and `.next`.

    `values` fill them; `field` is the key of a text itself.
    """

    def __init__(self, status: int, key: str, **values: object) -> None:
        super().__init__(key)
        self.status = status
        self.key = key
        self.values = values


@dataclass(frozen=True, slots=True)
class Visit:
    """One request's visitor."""

    words: Words
    cookie: str
    csrf: str
    is_signed_in: bool
    by: str


VISIT = web.RequestKey("visit", Visit)


def see_other(path: str) -> web.Response:
    """Send the browser to another page of ours."""
    return web.Response(status=303, headers={"Location": path})


class Frame:
    """Renders pages, and answers for what goes wrong in making one.

    `about` is what each page says of the relay that it is about: names of texts, and what stands there.
    """

    def __init__(
        self,
        options: Options,
        sessions: Sessions,
        cookie_name: str,
        about: Mapping[str, str],
    ) -> None:
        self.options = options
        self.cookie_name = cookie_name
        self.static = _static()
        self._sessions = sessions
        self._words = words.load()
        self._log = structlog.get_logger("console")
        self._jinja = jinja2.Environment(
            loader=jinja2.PackageLoader("worker.console"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._jinja.globals.update(
            options=options, static=self._static_path, tags=words.TAGS, about_relay=about
        )

    def page(
        self, request: web.Request, template: str, status: int = 200, **values: Any
    ) -> web.Response:
        """Render a template for this visitor."""
        visit = request[VISIT]
        common = {
            "t": visit.words,
            "visit": visit,
            "path": request.path,
            "path_qs": request.path_qs,
            "languages": words.LANGUAGES,
            "can_sign_out": visit.is_signed_in,
        }
        text = self._jinja.get_template(template).render(common | values)
        return web.Response(status=status, text=text, content_type="text/html")

    def middleware(self) -> Any:
        """Return the outermost middleware."""

        @web.middleware
        async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
            request[VISIT] = self._visit(request)
            response = await self._answer(request, handler)
            for name, value in HEADERS.items():
                response.headers.setdefault(name, value)
            if request[VISIT].cookie != request.cookies.get(self.cookie_name):
                self.remember(request, response, self.cookie_name, request[VISIT].cookie)
            return response

        return around

    def remember(
        self, request: web.Request, response: web.StreamResponse, name: str, value: str
    ) -> None:
        """Set a cookie that no script can read and no other site can change anything with."""
        if name in response.cookies:
            return
        is_https = request.headers.get("Origin", "").startswith("https://")
        response.set_cookie(
            name,
            value,
            httponly=True,
            # Sent along with a link from elsewhere, which only reads: whoever follows one to a letter stays
            # signed in. Nothing is changed without a form of our own page, its token and its origin.
            samesite="Lax",
            secure=is_https or request.secure,
            path="/",
            max_age=365 * 86_400 if name == LANGUAGE_COOKIE else None,
        )

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            return self._refusal(request, refused)
        except web.HTTPException as error:
            key = "not_found" if error.status == 404 else "request"
            return self._refusal(request, Refused(error.status, key))
        except CallFailed as failed:
            t = request[VISIT].words
            values = {"what": bounded(str(failed)), "step": t.next_step(failed.failure)}
            return self._refusal(request, Refused(502, "service", **values))
        except TimeoutError:
            return self._refusal(request, Refused(504, "time"))
        except Exception:  # noqa: BLE001  the boundary: a fault of one page must not take the others along
            self._log.critical(
                "a page could not be made because of a fault of the console: report this with the trace",
                action="page",
                path=bounded(request.path),
                exc_info=True,
            )
            return self._refusal(request, Refused(500, "fault"))

    def _refusal(self, request: web.Request, refused: Refused) -> web.Response:
        t, values = request[VISIT].words, refused.values
        if "field" in values:
            values = values | {"field": t(str(values["field"]))}
        texts = {
            part: t(f"refused.{refused.key}.{part}", **values) for part in ("title", "text", "next")
        }
        if request.path.startswith("/api/"):
            return web.json_response(texts | {"error": refused.key}, status=refused.status)
        return self.page(request, "refused.html", refused.status, **texts)

    def _visit(self, request: web.Request) -> Visit:
        language = words.choose(
            request.cookies.get(LANGUAGE_COOKIE, ""), request.headers.get("Accept-Language", "")
        )
        cookie = self._sessions.usable(request.cookies.get(self.cookie_name, ""))
        name, address = self._sessions.name(cookie), request.remote or "?"
        return Visit(
            words=self._words[language],
            cookie=cookie,
            csrf=self._sessions.csrf(cookie),
            is_signed_in=self._sessions.is_signed_in(cookie),
            by=f"{name} ({address})" if name else address,
        )

    def _static_path(self, name: str) -> str:
        return f"/static/{self.static[name][1]}/{name}"


def _static() -> dict[str, tuple[bytes, str]]:
    """Return each static file and a mark of its content, which stands in its address."""
    folder = resources.files("worker.console") / "static"
    files = {name: (folder / name).read_bytes() for name in STATIC}
    return {name: (data, hashlib.sha256(data).hexdigest()[:12]) for name, data in files.items()}
